//! The values that a pickle builds.
//!
//! All values are in one vector and refer to each other by index. However deep a file nests them, or if it makes them
//! contain themselves, nothing here follows the references recursively.

use std::rc::Rc;

use crate::pth::element_type::ElementType;
use crate::pth::global::Global;
use crate::pth::problem::Problem;

/// The index of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Id(u32);

/// A value of Python.
#[derive(Debug, Clone)]
pub(crate) enum Value {
    None,
    Bool,
    Int(i64),
    Float,
    Text(String),
    Bytes,
    Tuple(Vec<Id>),
    List(Vec<Id>),
    Dict(Vec<(Id, Id)>),
    Global(Global),
    Storage(Storage),
    Tensor(StridedTensor),
}

/// A reference to the elements of tensors.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Storage {
    /// The name of the storage in the file, shared by all tensors in it.
    pub(crate) key: Rc<str>,
    pub(crate) element: ElementType,
    /// The number of elements.
    pub(crate) len: usize,
}

/// A view of a storage. All elements are within it.
#[derive(Debug, Clone)]
pub(crate) struct StridedTensor {
    pub(crate) storage: Storage,
    /// The index of the first element.
    pub(crate) offset: usize,
    pub(crate) shape: Vec<usize>,
    /// The distance of neighbors along each axis, in elements.
    pub(crate) strides: Vec<usize>,
}

/// All values of a pickle.
#[derive(Debug, Default)]
pub(crate) struct Arena {
    values: Vec<Value>,
    /// The number of values, and of the entries that dictionaries had when they were added.
    count: usize,
}

impl Arena {
    /// More than the description of a tensor needs: arguments of a call, axes of a shape.
    pub(crate) const MAX_TUPLE: usize = 16;
    /// A hundred times as many as large networks need.
    const MAX_VALUES: usize = 1 << 20;

    /// Adds a value.
    ///
    /// # Errors
    /// When there are too many. A file of a few bytes can copy a dictionary many times, so its entries count.
    pub(crate) fn add(&mut self, value: Value) -> Result<Id, Problem> {
        self.count += match &value {
            Value::Dict(entries) => 1 + entries.len(),
            _ => 1,
        };
        if self.count > Self::MAX_VALUES {
            return Problem::damaged(format!("more than {} values", Self::MAX_VALUES));
        }
        self.values.push(value);
        Ok(Id((self.values.len() - 1) as u32))
    }

    pub(crate) fn get(&self, id: Id) -> &Value {
        &self.values[id.0 as usize]
    }

    pub(crate) fn get_mut(&mut self, id: Id) -> &mut Value {
        &mut self.values[id.0 as usize]
    }

    /// All references to storages.
    pub(crate) fn storages(&self) -> impl Iterator<Item = &Storage> {
        self.values.iter().filter_map(|value| match value {
            Value::Storage(storage) => Some(storage),
            _ => None,
        })
    }

    pub(crate) fn text(&self, id: Id, what: &str) -> Result<&str, Problem> {
        match self.get(id) {
            Value::Text(text) => Ok(text),
            other => Problem::damaged(format!("{what}: expected a text, found {}", other.kind())),
        }
    }

    pub(crate) fn tuple(&self, id: Id, what: &str) -> Result<&[Id], Problem> {
        match self.get(id) {
            Value::Tuple(items) | Value::List(items) => Ok(items),
            other => Problem::damaged(format!("{what}: expected a tuple, found {}", other.kind())),
        }
    }

    /// A tuple of at most [`Self::MAX_TUPLE`] values. A file may use the same tuple again and again, so the time for it
    /// is only bounded if each use is short.
    pub(crate) fn short_tuple(&self, id: Id, what: &str) -> Result<&[Id], Problem> {
        match self.tuple(id, what)? {
            long if long.len() > Self::MAX_TUPLE => {
                Problem::damaged(format!("{what}: expected at most {} values, found {}", Self::MAX_TUPLE, long.len()))
            }
            short => Ok(short),
        }
    }

    /// An integer that is not negative.
    pub(crate) fn index(&self, id: Id, what: &str) -> Result<usize, Problem> {
        match self.get(id) {
            Value::Int(value) => {
                usize::try_from(*value).or_else(|_| Problem::damaged(format!("{what}: expected a size, found {value}")))
            }
            other => Problem::damaged(format!("{what}: expected an integer, found {}", other.kind())),
        }
    }

    /// At most [`Self::MAX_TUPLE`] integers that are not negative.
    pub(crate) fn indices(&self, id: Id, what: &str) -> Result<Vec<usize>, Problem> {
        self.short_tuple(id, what)?.iter().map(|item| self.index(*item, what)).collect()
    }
}

/// Checks the length of the name of a tensor or of a storage, which a file may use again and again.
pub(crate) fn check_length(name: &str, what: &str) -> Result<(), Problem> {
    const MAX_BYTES: usize = 1024;
    match name.len() {
        0..=MAX_BYTES => Ok(()),
        bytes => Problem::damaged(format!("{what}: expected at most {MAX_BYTES} bytes, found {bytes}")),
    }
}

impl Value {
    /// The kind of the value, for messages.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::None => "None",
            Self::Bool => "a Boolean",
            Self::Int(_) => "an integer",
            Self::Float => "a float",
            Self::Text(_) => "a text",
            Self::Bytes => "bytes",
            Self::Tuple(_) => "a tuple",
            Self::List(_) => "a list",
            Self::Dict(_) => "a dictionary",
            Self::Global(_) => "a class or function",
            Self::Storage(_) => "a storage",
            Self::Tensor(_) => "a tensor",
        }
    }
}
