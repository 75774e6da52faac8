//! A stack that is filled in place: what a scan writes its nodes to.

/// A stack whose length is a number beside its memory, so that a loop that pushes can keep it in a register.
///
/// INVARIANT: `len` is at most the length of `items`; what lies above it are leftovers.
#[derive(Debug, Default)]
pub(super) struct Pile<T> {
    items: Vec<T>,
    len: usize,
}

impl<T: Copy + Default> Pile<T> {
    #[inline]
    pub(super) fn clear(&mut self) {
        self.len = 0;
    }

    #[inline]
    pub(super) const fn len(&self) -> usize {
        self.len
    }

    #[inline]
    pub(super) fn push(&mut self, item: T) {
        if self.len >= self.items.len() {
            self.grow();
        }
        if let Some(place) = self.items.get_mut(self.len) {
            *place = item;
            self.len = self.len.wrapping_add(1);
        }
    }

    /// Takes the top off; the default if there is none.
    #[inline]
    pub(super) fn pop(&mut self) -> T {
        let Some(len) = self.len.checked_sub(1) else {
            return T::default();
        };
        self.len = len;
        self.items.get(len).copied().unwrap_or_default()
    }

    #[cold]
    fn grow(&mut self) {
        self.items.push(T::default());
        self.items.resize(self.items.capacity(), T::default());
    }

    #[inline]
    pub(super) fn get_mut(&mut self, at: usize) -> Option<&mut T> {
        self.items.get_mut(at)
    }

    #[inline]
    pub(super) fn as_slice(&self) -> &[T] {
        self.items.get(..self.len).unwrap_or_default()
    }
}
