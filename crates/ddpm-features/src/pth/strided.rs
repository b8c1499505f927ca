//! Views of storages: their checks, and their copies in row-major order.

use crate::pth::arena::{Arena, Storage, StridedTensor};
use crate::pth::problem::Problem;

impl StridedTensor {
    /// A view of a storage.
    ///
    /// # Errors
    /// When an element would be outside of the storage, or the view has more elements than it: no weights are stored
    /// that way, and a file of a few bytes could fill the memory.
    pub(crate) fn new(
        storage: Storage,
        offset: usize,
        shape: Vec<usize>,
        strides: Vec<usize>,
    ) -> Result<Self, Problem> {
        if shape.len() != strides.len() || shape.len() > Arena::MAX_TUPLE {
            return Problem::damaged(format!("a tensor of {} axes with {} strides", shape.len(), strides.len()));
        }
        let tensor = Self { storage, offset, shape, strides };
        let last = tensor
            .axes()
            .try_fold(offset, |last, (length, stride)| last.checked_add(length.saturating_sub(1).checked_mul(stride)?));
        let count = tensor.shape.iter().try_fold(1_usize, |count, length| count.checked_mul(*length));
        let available = tensor.storage.len;
        match (count, last) {
            (Some(0), _) => Ok(tensor),
            (Some(count), Some(last)) if count <= available && last < available => Ok(tensor),
            _ => {
                let (shape, strides) = (&tensor.shape, &tensor.strides);
                let view = format!("a tensor of shape {shape:?} with strides {strides:?} at {offset}");
                Problem::damaged(format!("{view} is not within its storage of {available} elements"))
            }
        }
    }

    fn axes(&self) -> impl Iterator<Item = (usize, usize)> {
        self.shape.iter().copied().zip(self.strides.iter().copied())
    }

    /// The number of elements.
    pub(crate) fn count(&self) -> usize {
        self.shape.iter().product()
    }

    /// The elements in row-major order.
    pub(crate) fn copy_from(&self, storage: &[f32]) -> Vec<f32> {
        let mut contiguous = 1;
        let mut is_contiguous = true;
        for (length, stride) in self.axes().collect::<Vec<_>>().into_iter().rev() {
            is_contiguous &= length == 1 || stride == contiguous;
            contiguous *= length;
        }
        if self.count() == 0 {
            return Vec::new();
        }
        if is_contiguous {
            return storage[self.offset..self.offset + contiguous].to_vec();
        }
        let mut index = vec![0; self.shape.len()];
        let mut at = self.offset;
        let mut out = Vec::with_capacity(self.count());
        for _ in 0..self.count() {
            out.push(storage[at]);
            for axis in (0..index.len()).rev() {
                index[axis] += 1;
                at += self.strides[axis];
                if index[axis] < self.shape[axis] {
                    break;
                }
                at -= index[axis] * self.strides[axis];
                index[axis] = 0;
            }
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pth::element_type::ElementType;

    fn view(offset: usize, shape: &[usize], strides: &[usize]) -> Result<StridedTensor, Problem> {
        let storage = Storage { key: "0".into(), element: ElementType::F32, len: 6 };
        StridedTensor::new(storage, offset, shape.to_vec(), strides.to_vec())
    }

    #[test]
    fn views_are_copied_in_row_major_order() {
        let storage = [0.0, 1.0, 2.0, 3.0, 4.0, 5.0];
        let copy = |offset, shape: &[usize], strides: &[usize]| {
            view(offset, shape, strides).expect("within the storage").copy_from(&storage)
        };
        assert_eq!(copy(0, &[2, 3], &[3, 1]), storage);
        assert_eq!(copy(0, &[3, 2], &[1, 3]), [0.0, 3.0, 1.0, 4.0, 2.0, 5.0]);
        assert_eq!(copy(1, &[2, 2], &[3, 1]), [1.0, 2.0, 4.0, 5.0]);
        assert_eq!(copy(4, &[], &[]), [4.0]);
        assert_eq!(copy(0, &[2, 1, 3], &[3, 7, 1]), storage);
        assert_eq!(copy(2, &[3], &[0]), [2.0, 2.0, 2.0]);
        assert!(copy(9, &[0, 2], &[5, 1]).is_empty());
    }

    #[test]
    fn views_outside_of_the_storage_are_refused() {
        let huge = usize::MAX;
        for (offset, shape, strides) in [
            (1, &[2, 3][..], &[3, 1][..]),
            (6, &[1], &[1]),
            (0, &[7], &[0]),
            (0, &[huge, 2], &[1, 1]),
            (0, &[2], &[huge]),
            (huge, &[2], &[1]),
            (0, &[2, 3], &[3]),
        ] {
            assert!(view(offset, shape, strides).is_err(), "{offset} {shape:?} {strides:?}");
        }
    }
}
