//! Values under small numbers, which are used again: half the size of a pointer, and no allocation for each value.

/// Values by number.
#[derive(Debug)]
pub(super) struct Slab<T> {
    slots: Vec<Option<T>>,
    free: Vec<u32>,
}

impl<T> Default for Slab<T> {
    fn default() -> Self {
        Self { slots: Vec::new(), free: Vec::new() }
    }
}

impl<T> Slab<T> {
    /// Room for so many more.
    pub(super) fn reserve(&mut self, more: usize) {
        self.slots.reserve(more);
    }

    /// Takes a value; its number. The highest is 2^31 - 1: what is kept here would take 100 GiB by then.
    pub(super) fn insert(&mut self, value: T) -> u32 {
        let number = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            u32::try_from(self.slots.len() - 1).unwrap_or(u32::MAX)
        });
        if let Some(slot) = self.slots.get_mut(number as usize) {
            *slot = Some(value);
        }
        number
    }

    pub(super) fn get(&self, number: u32) -> Option<&T> {
        self.slots.get(number as usize)?.as_ref()
    }

    pub(super) fn get_mut(&mut self, number: u32) -> Option<&mut T> {
        self.slots.get_mut(number as usize)?.as_mut()
    }

    pub(super) fn remove(&mut self, number: u32) -> Option<T> {
        let value = self.slots.get_mut(number as usize)?.take();
        if value.is_some() {
            self.free.push(number);
        }
        value
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_used_again_and_only_once_each() {
        let mut slab = Slab::default();
        let numbers = ["a", "b", "c"].map(|value| slab.insert(value));
        assert_eq!(numbers, [0, 1, 2]);
        assert_eq!((slab.remove(1), slab.remove(1), slab.get(1)), (Some("b"), None, None));
        assert_eq!((slab.insert("d"), slab.insert("e")), (1, 3));
        assert_eq!([0, 1, 2, 3].map(|number| slab.get(number).copied().unwrap()), ["a", "d", "c", "e"]);
        *slab.get_mut(0).unwrap() = "f";
        assert_eq!((slab.get(0), slab.get(9)), (Some(&"f"), None));
    }
}
