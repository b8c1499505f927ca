//! Tensors of files that `torch.save` wrote.
//!
//! Such a file is a program for Python's unpickler, which may name any function of any module. Here the program runs on
//! an interpreter that knows a dozen globals, all of which describe tensors: it builds descriptions in an arena and
//! calls nothing. Every other global is refused by its name.
//!
//! - `interpreter` runs the instructions of the pickle format, `arena` holds the values, `global` lists what is
//!   allowed.
//! - `legacy_file` and `zip_file` find the pickle and the storages in the two formats of `torch.save`.
//! - `state_dict` finds the tensors in the result, `strided` copies them out of their storages.

mod arena;
mod element_type;
mod global;
mod interpreter;
mod legacy_file;
mod problem;
mod reader;
mod state_dict;
mod storage_source;
mod strided;
mod zip_file;

pub use reader::read_pth;
pub(crate) use reader::{describe, detect_pth, file_start};
