//! The instructions of the pickle format that descriptions of tensors need.
//!
//! The format is documented in [pickletools](https://github.com/python/cpython/blob/3.13/Lib/pickletools.py) of Python.

use std::collections::BTreeMap;

use crate::pth::arena::{Arena, Id, Storage, StridedTensor, Value, check_length};
use crate::pth::global::{Global, shortened};
use crate::pth::problem::Problem;

/// Runs pickles that follow each other in `bytes`.
#[derive(Debug)]
pub(crate) struct Interpreter<'a> {
    bytes: &'a [u8],
    position: usize,
    pub(crate) arena: Arena,
    stack: Vec<Id>,
    /// The height of the stack at each mark.
    marks: Vec<usize>,
    memo: BTreeMap<usize, Id>,
}

/// Deeper than descriptions of tensors are nested.
const MAX_MARKS: usize = 1 << 12;

impl<'a> Interpreter<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        let (stack, marks) = (Vec::new(), Vec::new());
        Self { bytes, position: 0, arena: Arena::default(), stack, marks, memo: BTreeMap::new() }
    }

    /// The number of bytes that the pickles so far took.
    pub(crate) fn position(&self) -> usize {
        self.position
    }

    /// Skips bytes.
    pub(crate) fn skip(&mut self, bytes: usize) {
        self.position = (self.position + bytes).min(self.bytes.len());
    }

    /// Runs one pickle and returns its value.
    ///
    /// # Errors
    /// When the pickle ends early, contains an unknown instruction, or refers to an object that is not allowed.
    pub(crate) fn run(&mut self) -> Result<Id, Problem> {
        self.stack.clear();
        self.marks.clear();
        self.memo.clear();
        loop {
            let at = self.position;
            let instruction = self.byte()?;
            if instruction == b'.' {
                return self.pop();
            }
            self.execute(instruction, at)?;
        }
    }

    fn execute(&mut self, instruction: u8, at: usize) -> Result<(), Problem> {
        match instruction {
            // PROTO, FRAME
            0x80 => self.take(1).map(drop),
            0x95 => self.take(8).map(drop),
            b'N' => self.push(Value::None),
            0x88 | 0x89 => self.push(Value::Bool),
            b'J' => self.i32().and_then(|value| self.push(Value::Int(value.into()))),
            b'K' => self.byte().and_then(|value| self.push(Value::Int(value.into()))),
            b'M' => self.length(2).and_then(|value| self.push(Value::Int(value as i64))),
            0x8a => self.long(),
            b'G' => self.take(8).map(drop).and_then(|()| self.push(Value::Float)),
            // BINUNICODE, SHORT_BINUNICODE, BINUNICODE8, and the byte strings of Python 2
            b'X' | b'T' => self.text(4),
            0x8c | b'U' => self.text(1),
            0x8d => self.text(8),
            // SHORT_BINBYTES, BINBYTES
            b'C' => self.data(1),
            b'B' => self.data(4),
            b'(' => self.mark(),
            b')' => self.push(Value::Tuple(Vec::new())),
            b']' => self.push(Value::List(Vec::new())),
            b'}' => self.push(Value::Dict(Vec::new())),
            0x85..=0x87 => self.pop_several(usize::from(instruction - 0x84)).and_then(|i| self.push(Value::Tuple(i))),
            b't' => self.pop_to_mark().and_then(|items| self.push(Value::Tuple(items))),
            b'a' => self.pop().and_then(|item| self.append(vec![item])),
            b'e' => self.pop_to_mark().and_then(|items| self.append(items)),
            b's' => self.pop_several(2).and_then(|items| self.set_items(&items)),
            b'u' => self.pop_to_mark().and_then(|items| self.set_items(&items)),
            b'0' => self.pop().map(drop),
            b'q' => self.length(1).and_then(|key| self.remember(key)),
            b'r' => self.length(4).and_then(|key| self.remember(key)),
            0x94 => self.remember(self.memo.len()),
            b'h' => self.length(1).and_then(|key| self.recall(key)),
            b'j' => self.length(4).and_then(|key| self.recall(key)),
            b'c' => self.global(),
            0x93 => self.stack_global(),
            b'Q' => self.storage(),
            b'R' => self.reduce(),
            b'b' => self.build(),
            other => Problem::damaged(format!("the instruction {other:#04x} at byte {at} is not supported")),
        }
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8], Problem> {
        let rest = &self.bytes[self.position..];
        match rest.get(..count) {
            Some(taken) => {
                self.position += count;
                Ok(taken)
            }
            None => Problem::damaged(format!("expected {count} more bytes, found {} at the end", rest.len())),
        }
    }

    fn byte(&mut self) -> Result<u8, Problem> {
        Ok(self.take(1)?[0])
    }

    fn i32(&mut self) -> Result<i32, Problem> {
        let bytes = self.take(4)?;
        Ok(i32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
    }

    /// An unsigned number of that many bytes.
    fn length(&mut self, bytes: usize) -> Result<usize, Problem> {
        let value = self.take(bytes)?.iter().rev().fold(0_u64, |value, byte| value << 8 | u64::from(*byte));
        usize::try_from(value).or_else(|_| Problem::damaged(format!("expected a size, found {value}")))
    }

    /// The text up to the end of the line.
    fn line(&mut self) -> Result<&'a str, Problem> {
        let rest = &self.bytes[self.position..];
        let Some(length) = rest.iter().position(|byte| *byte == b'\n') else {
            return Problem::damaged("expected the end of a line, found the end");
        };
        self.position += length + 1;
        text_of(&rest[..length])
    }

    fn push(&mut self, value: Value) -> Result<(), Problem> {
        let id = self.arena.add(value)?;
        self.stack.push(id);
        Ok(())
    }

    fn mark(&mut self) -> Result<(), Problem> {
        if self.marks.len() >= MAX_MARKS {
            return Problem::damaged(format!("more than {MAX_MARKS} groups in each other"));
        }
        self.marks.push(self.stack.len());
        Ok(())
    }

    /// Takes a value from the stack; never one below the last mark.
    fn pop(&mut self) -> Result<Id, Problem> {
        let floor = self.marks.last().copied().unwrap_or(0);
        match self.stack.pop() {
            Some(id) if self.stack.len() >= floor => Ok(id),
            _ => Problem::damaged("an instruction without its arguments"),
        }
    }

    fn pop_several(&mut self, count: usize) -> Result<Vec<Id>, Problem> {
        let mut items = (0..count).map(|_| self.pop()).collect::<Result<Vec<_>, _>>()?;
        items.reverse();
        Ok(items)
    }

    fn pop_to_mark(&mut self) -> Result<Vec<Id>, Problem> {
        match self.marks.pop() {
            Some(mark) => Ok(self.stack.split_off(mark)),
            None => Problem::damaged("the end of a group without its beginning"),
        }
    }

    fn top(&self) -> Result<Id, Problem> {
        self.stack.last().copied().ok_or_else(|| Problem::Damaged("an instruction without its arguments".to_owned()))
    }

    fn remember(&mut self, key: usize) -> Result<(), Problem> {
        let top = self.top()?;
        self.memo.insert(key, top);
        Ok(())
    }

    fn recall(&mut self, key: usize) -> Result<(), Problem> {
        match self.memo.get(&key) {
            Some(id) => {
                self.stack.push(*id);
                Ok(())
            }
            None => Problem::damaged(format!("a reference to the value {key}, which does not exist")),
        }
    }

    /// LONG1: a number of up to eight bytes, with sign.
    fn long(&mut self) -> Result<(), Problem> {
        let length = self.length(1)?;
        let bytes = self.take(length)?;
        if length > 8 {
            return Problem::damaged(format!("an integer of {length} bytes, expected at most 8"));
        }
        let fill = if bytes.last().is_some_and(|byte| *byte > 127) { 255 } else { 0 };
        let mut whole = [fill; 8];
        whole[..length].copy_from_slice(bytes);
        self.push(Value::Int(i64::from_le_bytes(whole)))
    }

    fn text(&mut self, length_bytes: usize) -> Result<(), Problem> {
        let length = self.length(length_bytes)?;
        let text = text_of(self.take(length)?)?.to_owned();
        self.push(Value::Text(text))
    }

    fn data(&mut self, length_bytes: usize) -> Result<(), Problem> {
        let length = self.length(length_bytes)?;
        self.take(length)?;
        self.push(Value::Bytes)
    }

    fn append(&mut self, items: Vec<Id>) -> Result<(), Problem> {
        let list = self.top()?;
        match self.arena.get_mut(list) {
            Value::List(list) => {
                list.extend(items);
                Ok(())
            }
            other => Problem::damaged(format!("expected a list to append to, found {}", other.kind())),
        }
    }

    fn set_items(&mut self, items: &[Id]) -> Result<(), Problem> {
        let dict = self.top()?;
        match self.arena.get_mut(dict) {
            Value::Dict(entries) if items.len().is_multiple_of(2) => {
                entries.extend(items.chunks_exact(2).map(|pair| (pair[0], pair[1])));
                Ok(())
            }
            other => Problem::damaged(format!("{} items for {}, expected pairs", items.len(), other.kind())),
        }
    }

    fn global(&mut self) -> Result<(), Problem> {
        let (module, name) = (self.line()?, self.line()?);
        self.push(Value::Global(Global::find(module, name)?))
    }

    fn stack_global(&mut self) -> Result<(), Problem> {
        let names = self.pop_several(2)?;
        let (module, name) = (self.arena.text(names[0], "a module")?, self.arena.text(names[1], "a name")?);
        let global = Global::find(module, name)?;
        self.push(Value::Global(global))
    }

    /// BINPERSID: `("storage", class, key, device, elements, …)`.
    fn storage(&mut self) -> Result<(), Problem> {
        let description = self.pop()?;
        let arena = &self.arena;
        let &[tag, class, key, _, len, ref view @ ..] = arena.short_tuple(description, "a storage")? else {
            return Problem::damaged("a storage: expected five values");
        };
        if arena.text(tag, "the tag of a storage")? != "storage" {
            return Problem::damaged("an external object that is no storage");
        }
        let &Value::Global(Global::Storage(element)) = arena.get(class) else {
            return Problem::damaged(format!("the class of a storage, found {}", arena.get(class).kind()));
        };
        // Before PyTorch 0.4 a storage could be a part of another one.
        if view.iter().any(|view| !matches!(arena.get(*view), Value::None)) {
            return Problem::damaged("a storage that is a part of another one, as PyTorch wrote before version 0.4");
        }
        let key = arena.text(key, "the key of a storage")?;
        check_length(key, "the key of a storage")?;
        let key = key.into();
        let len = arena.index(len, "the elements of a storage")?;
        self.push(Value::Storage(Storage { key, element, len }))
    }

    /// REDUCE: a call, of which only the descriptions of tensors are carried out.
    fn reduce(&mut self) -> Result<(), Problem> {
        let call = self.pop_several(2)?;
        let arguments = self.arena.short_tuple(call[1], "arguments")?.to_vec();
        let &Value::Global(function) = self.arena.get(call[0]) else {
            return Problem::damaged(format!("a call of {}", self.arena.get(call[0]).kind()));
        };
        match (function, &arguments[..]) {
            (Global::OrderedDict, []) => self.push(Value::Dict(Vec::new())),
            (Global::OrderedDict, [pairs]) => {
                let pairs = self.arena.tuple(*pairs, "the items of a dictionary")?;
                let entry = |pair: &Id| match self.arena.tuple(*pair, "an item of a dictionary")? {
                    &[key, value] => Ok((key, value)),
                    other => Problem::damaged(format!("an item of {} values, expected 2", other.len())),
                };
                let entries = pairs.iter().map(entry).collect::<Result<_, _>>()?;
                self.push(Value::Dict(entries))
            }
            (Global::RebuildTensor, &[storage, offset, shape, strides, ..]) => {
                let Value::Storage(storage) = self.arena.get(storage) else {
                    return Problem::damaged(format!("a tensor of {}", self.arena.get(storage).kind()));
                };
                let offset = self.arena.index(offset, "the offset of a tensor")?;
                let shape = self.arena.indices(shape, "the shape of a tensor")?;
                let strides = self.arena.indices(strides, "the strides of a tensor")?;
                let tensor = StridedTensor::new(storage.clone(), offset, shape, strides)?;
                self.push(Value::Tensor(tensor))
            }
            (Global::RebuildParameter, [tensor, ..]) if matches!(self.arena.get(*tensor), Value::Tensor(_)) => {
                self.stack.push(*tensor);
                Ok(())
            }
            (Global::Size, [shape]) => {
                self.stack.push(*shape);
                Ok(())
            }
            _ => Problem::damaged(format!("a call of {function:?} with {} arguments", arguments.len())),
        }
    }

    /// BUILD: attributes of an object. Those of a dictionary are its metadata, which weights do not need.
    fn build(&mut self) -> Result<(), Problem> {
        self.pop()?;
        let object = self.top()?;
        match self.arena.get(object) {
            Value::Dict(_) => Ok(()),
            other => Problem::damaged(format!("attributes of {}", other.kind())),
        }
    }
}

fn text_of(bytes: &[u8]) -> Result<&str, Problem> {
    std::str::from_utf8(bytes).or_else(|_| {
        Problem::damaged(format!("expected UTF-8, found `{}`", shortened(&String::from_utf8_lossy(bytes))))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(bytes: &[u8]) -> Result<(), Problem> {
        Interpreter::new(bytes).run().map(drop)
    }

    #[test]
    fn calls_of_other_objects_are_refused_before_they_get_arguments() {
        let Err(Problem::Refused(name)) = run(b"\x80\x02cos\nsystem\n(X\x02\x00\x00\x00lstR.") else {
            panic!("refused")
        };
        assert_eq!(name, "os.system");
        let Err(Problem::Refused(name)) = run(b"\x80\x04\x8c\x05posix\x8c\x06system\x93.") else { panic!("refused") };
        assert_eq!(name, "posix.system");
    }

    #[test]
    fn every_end_within_a_pickle_is_an_error() {
        let whole = b"\x80\x02}q\x00(X\x01\x00\x00\x00aK\x01X\x01\x00\x00\x00b(K\x02M\x00\x01\x87tu.";
        run(b"\x80\x02}q\x00(X\x01\x00\x00\x00aK\x01u.").expect("a dictionary");
        for length in 0..whole.len() {
            assert!(run(&whole[..length]).is_err(), "{length}");
        }
    }

    #[test]
    fn values_may_contain_themselves_and_nest_without_end() {
        run(b"]q\x00h\x00a.").expect("a list that contains itself");
        let mut deep = vec![b')'];
        deep.extend(std::iter::repeat_n(0x85, 900_000));
        deep.push(b'.');
        run(&deep).expect("nested tuples");
    }

    #[test]
    fn copies_of_a_dictionary_are_limited() {
        // A list of pairs, and `OrderedDict` of it again and again.
        let pairs = b"\x80\x02]q\x00(".iter().copied().chain(b"NN\x86".repeat(20_000)).chain(*b"ecollections");
        let mut pickle: Vec<u8> = pairs.collect();
        pickle.splice(pickle.len() - 11.., *b"ccollections\nOrderedDict\nq\x01");
        for _ in 0..1000 {
            pickle.extend(b"h\x01h\x00\x85R0");
        }
        let Err(Problem::Damaged(problem)) = run(&pickle) else { panic!("too many values") };
        assert!(problem.contains("more than 1048576 values"), "{problem}");
    }

    #[test]
    fn unknown_instructions_and_long_integers_are_errors() {
        for bytes in
            [&b"i."[..], b"\x8a\x09\x01\x01\x01\x01\x01\x01\x01\x01\x01.", b"Q.", b"R.", b"t.", b"h\x05.", b"(0."]
        {
            assert!(run(bytes).is_err(), "{bytes:?}");
        }
    }
}
