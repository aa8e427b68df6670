//! A definition compiled: where each value comes from, in which form, and what stands around it.
//!
//! An unqualified column means the join column, then the stream's field, then the references in order; `Table.field`
//! means that reference. A join column has the stream's value, as SQL's `USING` says, on a hit as on a miss.

use crate::encode::{Form, Frame, partition_prefix};
use crate::pipeline::{Definition, JoinKind, PROVENANCE};
use crate::record::FieldNames;
use crate::reference::Projection;

/// Where a value may come from; the first of several candidates that is there counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Candidate {
    /// The record's field in this slot.
    Field(usize),
    /// A cell of the matched row of this reference.
    Cell { reference: usize, cell: usize },
}

/// One output column or partition column.
#[derive(Clone, Debug)]
pub(super) struct Value {
    pub(super) name: String,
    pub(super) before: Vec<u8>,
    pub(super) form: Form,
    pub(super) candidates: Vec<Candidate>,
}

/// One reference of the join.
#[derive(Clone, Debug)]
pub(super) struct Step {
    pub(super) key: Vec<Vec<Candidate>>,
    pub(super) kind: JoinKind,
}

/// A compiled definition.
#[derive(Clone, Debug)]
pub struct Plan {
    pub(super) names: FieldNames,
    pub(super) steps: Vec<Step>,
    pub(super) projections: Vec<Projection>,
    pub(super) columns: Vec<Value>,
    pub(super) partitions: Vec<Value>,
    /// What stands before each provenance column, and its form.
    pub(super) provenance: Option<Vec<(Vec<u8>, Form)>>,
    pub(super) frame: Frame,
    pub(super) extension: &'static str,
}

impl Plan {
    /// Compiles a definition.
    #[must_use]
    pub fn new(definition: &Definition) -> Self {
        let mut compiler = Compiler { definition, names: FieldNames::default(), projections: Vec::new() };
        for reference in &definition.references {
            let fields: Vec<&str> = reference.on.iter().map(|pair| pair.reference.as_str()).collect();
            compiler.projections.push(Projection::new(&fields, reference.untyped));
        }
        let steps = definition.references.iter().enumerate().map(|(index, reference)| Step {
            key: reference.on.iter().map(|pair| compiler.stream_side(index, &pair.stream, Form::Key)).collect(),
            kind: reference.kind,
        });
        let steps = steps.collect();
        let output = &definition.output;
        let typed = |name| (name, output.type_of(name));
        let inside: Vec<_> =
            output.columns.iter().filter(|column| !output.partition_by.contains(&column.name)).collect();
        let mut names: Vec<_> = inside.iter().map(|column| typed(column.name.as_str())).collect();
        if output.provenance {
            names.extend(PROVENANCE.map(typed));
        }
        let mut frame = Frame::new(output.format, &names);
        let forms = names.iter().map(|(_, column)| Form::of(output.format, *column));
        let provenance = output.provenance.then(|| frame.before.split_off(inside.len()));
        let provenance = provenance.map(|before| before.into_iter().zip(forms.clone().skip(inside.len())).collect());
        let columns = inside.iter().zip(&frame.before).zip(forms).map(|((column, before), form)| Value {
            name: column.name.clone(),
            before: before.clone(),
            form,
            candidates: compiler.column(column.reference, &column.field, form),
        });
        let columns = columns.collect();
        let partitions = output.partition_by.iter().filter_map(|name| {
            let column = output.columns.iter().find(|column| column.name == *name)?;
            let candidates = compiler.column(column.reference, &column.field, Form::Partition);
            Some(Value { name: name.clone(), before: partition_prefix(name), form: Form::Partition, candidates })
        });
        let partitions = partitions.collect();
        let Compiler { names, projections, .. } = compiler;
        let extension = output.format.extension();
        Self { names, steps, projections, columns, partitions, provenance, frame, extension }
    }

    /// What is used of each reference's rows, in the definition's order.
    #[must_use]
    pub fn projections(&self) -> &[Projection] {
        &self.projections
    }
}

struct Compiler<'d> {
    definition: &'d Definition,
    names: FieldNames,
    projections: Vec<Projection>,
}

impl Compiler<'_> {
    /// The stream's side of reference `index`'s join: the record's field, else that of an earlier reference's row.
    fn stream_side(&mut self, index: usize, field: &str, form: Form) -> Vec<Candidate> {
        let mut candidates = vec![Candidate::Field(self.names.slot(field))];
        candidates.extend(self.cells(index, field, form));
        candidates
    }

    /// A field's cells in the first `count` references.
    fn cells(&mut self, count: usize, field: &str, form: Form) -> Vec<Candidate> {
        let projections = self.projections.iter_mut().enumerate().take(count);
        projections
            .map(|(reference, projection)| Candidate::Cell { reference, cell: projection.cell(field, form) })
            .collect()
    }

    fn column(&mut self, reference: Option<usize>, field: &str, form: Form) -> Vec<Candidate> {
        let definition = self.definition;
        let mut joined = definition.references.iter().enumerate();
        let joined = joined.find_map(|(index, candidate)| {
            let pair = candidate.on.iter().find(|pair| pair.reference == field)?;
            reference.is_none_or(|wanted| wanted == index).then_some((index, pair))
        });
        match (joined, reference) {
            (Some((index, pair)), _) => self.stream_side(index, &pair.stream, form),
            (None, Some(reference)) => {
                let cell = self.projections.get_mut(reference).map(|projection| projection.cell(field, form));
                cell.map(|cell| Candidate::Cell { reference, cell }).into_iter().collect()
            }
            (None, None) => {
                let mut candidates = vec![Candidate::Field(self.names.slot(field))];
                candidates.extend(self.cells(definition.references.len(), field, form));
                candidates
            }
        }
    }
}
