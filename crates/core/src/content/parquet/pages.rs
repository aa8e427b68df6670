//! Pages as a column's reader may trust them: what the `parquet` crate would panic at is an error here, and a column has
//! no more entries than the bound has bytes.

use ::parquet::basic::{Encoding, Type as Physical};
use ::parquet::column::page::{Page, PageMetadata, PageReader};
use ::parquet::errors::{ParquetError, Result};
use ::parquet::schema::types::ColumnDescPtr;
use bytes::{BufMut, BytesMut};

pub(super) struct Guarded {
    pages: Box<dyn PageReader>,
    column: ColumnDescPtr,
    dictionary: bool,
    /// Entries that the column may still have.
    left: u64,
}

impl Guarded {
    pub(super) fn new(pages: Box<dyn PageReader>, column: ColumnDescPtr, limit: u64) -> Self {
        Self { pages, column, dictionary: false, left: limit }
    }

    /// Lengths of byte strings are read four bytes at a time, whether there are four or not. What follows the last string
    /// is made a length that no page has.
    fn fenced(&self, mut page: Page) -> Page {
        let strings = self.column.physical_type() == Physical::BYTE_ARRAY;
        match &mut page {
            Page::DataPage { buf, encoding: Encoding::PLAIN, .. }
            | Page::DataPageV2 { buf, encoding: Encoding::PLAIN, .. }
            | Page::DictionaryPage { buf, .. }
                if strings =>
            {
                let mut fenced = BytesMut::with_capacity(buf.len() + 4);
                fenced.put_slice(buf);
                fenced.put_u32(u32::MAX);
                *buf = fenced.freeze();
            }
            _ => {}
        }
        page
    }

    fn check(&mut self, page: &Page) -> Result<()> {
        let general = |reason: &str| Err(ParquetError::General(reason.into()));
        if let Page::DataPageV2 { buf, def_levels_byte_len, rep_levels_byte_len, .. } = page
            && u64::from(*def_levels_byte_len) + u64::from(*rep_levels_byte_len) > buf.len() as u64
        {
            return general("a page that is shorter than its levels");
        }
        if let Page::DictionaryPage { .. } = page {
            self.dictionary = true;
            return Ok(());
        }
        if !self.dictionary && matches!(page.encoding(), Encoding::PLAIN_DICTIONARY | Encoding::RLE_DICTIONARY) {
            return general("a page whose dictionary is missing");
        }
        match self.left.checked_sub(u64::from(page.num_values())) {
            Some(left) => self.left = left,
            None => return general("a column with more values than the bound on its bytes"),
        }
        Ok(())
    }
}

impl PageReader for Guarded {
    fn get_next_page(&mut self) -> Result<Option<Page>> {
        let page = self.pages.get_next_page()?;
        page.iter().try_for_each(|page| self.check(page))?;
        Ok(page.map(|page| self.fenced(page)))
    }

    fn peek_next_page(&mut self) -> Result<Option<PageMetadata>> {
        self.pages.peek_next_page()
    }

    fn skip_next_page(&mut self) -> Result<()> {
        self.pages.skip_next_page()
    }

    fn at_record_boundary(&mut self) -> Result<bool> {
        self.pages.at_record_boundary()
    }
}

impl Iterator for Guarded {
    type Item = Result<Page>;

    fn next(&mut self) -> Option<Self::Item> {
        self.get_next_page().transpose()
    }
}
