//! Which files of a dataset hold the images that are wanted.

use crate::card::{Subset, image_column, subsets};
use crate::error::{HubError, Result};
use crate::glob::matches;
use crate::listing::{Listing, file_count, some_names};
use crate::repo_id::RepoId;

/// What is wanted of a dataset.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wanted {
    /// `train` where nobody says.
    pub split: Option<String>,
    /// One of the parts that its metadata name: the default one where nobody says.
    pub subset: Option<String>,
}

/// The files of a split.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Chosen {
    pub(crate) paths: Vec<String>,
    /// The column of images, where the metadata say.
    pub(crate) column: Option<String>,
    split: String,
    /// What decided that it is these.
    why: String,
    /// How many others may hold images.
    left_out: usize,
}

impl Chosen {
    /// What was chosen, for people.
    pub(crate) fn told(&self) -> String {
        let Self { paths, split, why, left_out, .. } = self;
        format!("split {split}, {why}: {}; left out {left_out}", file_count(paths.len()))
    }
}

const PARQUET: [&str; 1] = [".parquet"];
const ARCHIVES: [&str; 4] = [".zip", ".tar", ".tar.gz", ".tgz"];
const IMAGES: [&str; 8] = [".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff"];

/// Words that name a split in a path, each list with the name of its split first.
const SPLITS: [&[&str]; 3] =
    [&["train", "training"], &["test", "testing", "eval", "evaluation"], &["validation", "valid", "val", "dev"]];

/// Chooses by the metadata where they name files; else by the names: Parquet before archives before single images, of
/// which those of the split, or all of them where no name says a split.
pub(crate) fn dataset_files(listing: &Listing, wanted: &Wanted, id: &RepoId) -> Result<Chosen> {
    let split = wanted.split.as_deref().unwrap_or("train");
    let all = listing.names();
    let names = with_images(&all);
    let known = subsets(&listing.card);
    let of_subset = match wanted.subset.as_deref() {
        Some(name) if !known.is_empty() => Some(known.iter().find(|subset| subset.name == name).ok_or_else(|| {
            let names = known.iter().map(|subset| subset.name.as_str()).collect();
            no_choice("subset", names, name, id)
        })?),
        _ => known.first(),
    };
    let column = image_column(&listing.card, of_subset.map(|subset| subset.name.as_str()).or(wanted.subset.as_deref()));
    let (found, why) = match of_subset {
        Some(Subset { name, splits: Some(splits), .. }) => {
            let of_split = splits.iter().find(|(name, _)| name == split).ok_or_else(|| {
                let names = splits.iter().map(|(name, _)| name.as_str()).collect();
                no_choice("split", names, split, id)
            })?;
            let patterns = own_patterns(&of_split.1, id)?;
            let fits = |name: &&str| patterns.iter().any(|pattern| matches(pattern, name));
            let why = format!("as the metadata of {} say", name.escape_debug());
            (names.iter().copied().filter(fits).collect(), why)
        }
        Some(Subset { directory, .. }) => {
            let prefix = if directory.is_empty() { String::new() } else { format!("{directory}/") };
            by_names(names.iter().copied().filter(|name| name.starts_with(&prefix)).collect(), prefix.len(), split)
        }
        None => {
            let of_subset: Vec<&str> = match wanted.subset.as_deref() {
                Some(subset) => names.iter().copied().filter(|name| lies_in(name, subset)).collect(),
                None => names.clone(),
            };
            let (found, why) = by_names(of_subset, 0, split);
            (if wanted.subset.is_none() { one_subset(found, split, id)? } else { found }, why)
        }
    };
    if found.is_empty() {
        let subset = wanted.subset.as_ref().map_or(String::new(), |subset| format!(" of {subset}"));
        let why = if why.is_empty() { why } else { format!(" ({why})") };
        let of = format!(" in its split {split}{subset}{why}");
        return Err(HubError::NoImages { repository: id.to_string(), of, found: some_names(&all) });
    }
    let paths: Vec<String> = found.into_iter().map(str::to_owned).collect();
    let left_out = names.len() - paths.len();
    Ok(Chosen { paths, column, split: split.to_owned(), why, left_out })
}

/// Those that may hold images. The table of captions and labels beside images, which the library datasets calls
/// metadata, is none of them.
fn with_images<'a>(names: &[&'a str]) -> Vec<&'a str> {
    let beside = names.iter().any(|name| has_ending(name, &ARCHIVES) || has_ending(name, &IMAGES));
    let is_table = |name: &str| beside && name.rsplit('/').next() == Some("metadata.parquet");
    names.iter().copied().filter(|name| holds_images(name) && !is_table(name)).collect()
}

/// The patterns as paths in this repository, which metadata may write as whole addresses.
fn own_patterns(patterns: &[String], id: &RepoId) -> Result<Vec<String>> {
    let own = |pattern: &String| match pattern.split_once("://") {
        None => Some(pattern.clone()),
        Some(("hf", rest)) => {
            let rest = rest.strip_prefix("datasets/")?.strip_prefix(id.name())?;
            let (revision, path) = rest.split_once('/')?;
            (revision.is_empty() || revision.starts_with('@')).then(|| path.to_owned())
        }
        Some(_) => None,
    };
    let elsewhere = |pattern: &String| HubError::Elsewhere {
        repository: id.to_string(),
        pattern: pattern.escape_debug().collect(),
    };
    patterns.iter().map(|pattern| own(pattern).ok_or_else(|| elsewhere(pattern))).collect()
}

/// Whether a part of the path, or what it begins with, is the name of that part of the dataset.
fn lies_in(name: &str, subset: &str) -> bool {
    name.split('/').any(|part| part == subset) || name.strip_prefix(subset).is_some_and(|rest| rest.starts_with('/'))
}

/// Those of the split, and what decided it. The first `skipped` bytes of each name say nothing.
fn by_names<'a>(names: Vec<&'a str>, skipped: usize, split: &str) -> (Vec<&'a str>, String) {
    for kind in [&PARQUET[..], &ARCHIVES, &IMAGES] {
        let of_kind: Vec<&str> = names.iter().copied().filter(|name| has_ending(name, kind)).collect();
        if of_kind.is_empty() {
            continue;
        }
        // Where no name says a split, everything is there to be trained with.
        let says_any = |name: &&str| SPLITS.iter().any(|words| says(&name[skipped..], words[0]).is_some());
        if split == "train" && !of_kind.iter().any(says_any) {
            return (of_kind, "no name says a split".to_owned());
        }
        let said = |name: &&str| says(&name[skipped..], split);
        let mut words: Vec<String> = of_kind.iter().filter_map(said).collect();
        words.sort();
        words.dedup();
        let found: Vec<&str> = of_kind.iter().copied().filter(|name| said(name).is_some()).collect();
        if found.is_empty() {
            let word = |words: &&[&str]| of_kind.iter().find_map(|name| says(&name[skipped..], words[0]));
            let others: Vec<String> = SPLITS.iter().filter_map(word).collect();
            return (found, format!("some names say {}", others.join(" and ")));
        }
        return (found, format!("by the word {} in their names", words.join(" or ")));
    }
    (Vec::new(), String::new())
}

/// Of the branch that the Hub converts datasets to (`SUBSET/SPLIT/0000.parquet`), those of one part: the default one.
fn one_subset<'a>(found: Vec<&'a str>, split: &str, id: &RepoId) -> Result<Vec<&'a str>> {
    let subset = |name: &'a str| {
        let (directory, _) = name.rsplit_once('/').filter(|_| has_ending(name, &PARQUET))?;
        let (subset, last) = directory.rsplit_once('/')?;
        says(last, split).map(|_| subset)
    };
    let mut subsets: Vec<&str> = found.iter().filter_map(|name| subset(name)).collect();
    subsets.sort_unstable();
    subsets.dedup();
    match subsets.as_slice() {
        [] | [_] => Ok(found),
        several if several.contains(&"default") => {
            Ok(found.into_iter().filter(|name| subset(name) == Some("default")).collect())
        }
        _ => Err(no_choice("subset", subsets, "none", id)),
    }
}

/// The word of the path that says that split. Digits and signs are between words, as the library datasets has it.
fn says(path: &str, split: &str) -> Option<String> {
    let words = SPLITS.iter().find(|words| words[0] == split).copied().unwrap_or(&[]);
    let lower = path.to_ascii_lowercase();
    let whole = lower.split(|c: char| !c.is_alphanumeric()).find(|part| *part == split);
    let word = || lower.split(|c: char| !c.is_alphabetic()).find(|part| *part == split || words.contains(part));
    whole.or_else(word).map(str::to_owned)
}

fn holds_images(name: &str) -> bool {
    [&PARQUET[..], &ARCHIVES, &IMAGES].iter().any(|kind| has_ending(name, kind))
}

fn has_ending(name: &str, endings: &[&str]) -> bool {
    let lower = name.to_ascii_lowercase();
    endings.iter().any(|ending| lower.ends_with(ending))
}

fn no_choice(field: &'static str, known: Vec<&str>, found: &str, id: &RepoId) -> HubError {
    let show = |text: &str| text.escape_debug().collect::<String>();
    let known = known.into_iter().map(show).collect::<Vec<_>>().join(", ");
    HubError::NoChoice { repository: id.to_string(), field, known, found: show(found) }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::listing::Entry;

    fn chosen(names: &[&str], card: Value, split: Option<&str>, subset: Option<&str>) -> Result<Chosen> {
        let files = names.iter().map(|name| Entry::named((*name).to_owned())).collect();
        let listing = Listing { commit: "0".repeat(40), files, card, whole: true };
        let wanted = Wanted { split: split.map(str::to_owned), subset: subset.map(str::to_owned) };
        dataset_files(&listing, &wanted, &"a/b".parse().expect("an id"))
    }

    #[test]
    fn metadata_go_before_names() {
        let names =
            ["README.md", "x/part-1.parquet", "x/part-2.parquet", "x/notes.txt", "y/held.parquet", "train.parquet"];
        let card = json!({
            "configs": [{ "config_name": "c", "data_files": [
                { "split": "train", "path": "x/*" }, { "split": "test", "path": "y/*" },
            ] }],
            "dataset_info": { "features": [{ "name": "img", "dtype": "image" }] },
        });
        let found = chosen(&names, card.clone(), None, None).expect("a split");
        assert_eq!(
            (found.paths.join(" ").as_str(), found.column.as_deref()),
            ("x/part-1.parquet x/part-2.parquet", Some("img"))
        );
        assert_eq!(chosen(&names, card.clone(), Some("test"), None).expect("a split").paths, ["y/held.parquet"]);
        let error = chosen(&names, card.clone(), Some("dev"), None).expect_err("none").to_string();
        assert!(error.contains("data.split") && error.contains("train, test") && error.contains("dev"), "{error}");
        let error = chosen(&names, card, None, Some("d")).expect_err("none").to_string();
        assert!(error.contains("data.subset") && error.contains("of c,"), "{error}");
    }

    #[test]
    fn names_say_the_split_where_metadata_do_not() {
        let paths = |names: &[&str], split| chosen(names, Value::Null, split, None).expect("images").paths;
        let parquet = ["data/test-0-of-1.parquet", "data/train-0-of-1.parquet", "a.zip", "train/a.png"];
        assert_eq!(paths(&parquet, None), ["data/train-0-of-1.parquet"]);
        assert_eq!(paths(&parquet, Some("test")), ["data/test-0-of-1.parquet"]);
        assert_eq!(
            paths(&["default/train/0000.parquet", "default/trainer.parquet"], None),
            ["default/train/0000.parquet"]
        );
        assert_eq!(paths(&["b.parquet", "a/c.parquet"], None), ["b.parquet", "a/c.parquet"]);
        assert_eq!(paths(&["faces.zip", "README.md", "cover.png"], None), ["faces.zip"]);
        assert_eq!(paths(&["train/a.png", "val/b.png", "train/c.JPG"], None), ["train/a.png", "train/c.JPG"]);
        let only_test = chosen(&["test.parquet"], Value::Null, None, None).expect_err("no training set").to_string();
        assert!(
            only_test.contains("split train (some names say test)") && only_test.contains("test.parquet"),
            "{only_test}"
        );
        assert!(chosen(&["a.csv"], Value::Null, None, None).is_err());
        // Digits are between words; a whole name may have them.
        assert_eq!(paths(&["train1.parquet", "test1.parquet", "trainer.parquet"], None), ["train1.parquet"]);
        assert_eq!(paths(&["fold1.parquet", "fold2.parquet"], Some("fold2")), ["fold2.parquet"]);
        // Captions are no images, where there are images.
        assert_eq!(paths(&["metadata.parquet", "train/metadata.parquet", "a.png"], None), ["a.png"]);
        assert_eq!(paths(&["metadata.parquet"], None), ["metadata.parquet"]);
    }

    #[test]
    fn what_decided_is_told() {
        let told = |names: &[&str], card| chosen(names, card, None, None).expect("images").told();
        let named = told(&["train1.zip", "a/training/b.zip", "test.zip", "x.png"], Value::Null);
        assert_eq!(named, "split train, by the word train or training in their names: 2 files; left out 2");
        assert_eq!(told(&["a.png", "x.txt"], Value::Null), "split train, no name says a split: 1 file; left out 0");
        let card = json!({ "configs": [{ "config_name": "c", "data_files": "a*" }] });
        assert_eq!(told(&["a.zip", "b.zip"], card), "split train, as the metadata of c say: 1 file; left out 1");
    }

    #[test]
    fn of_several_parts_one_is_meant() {
        let paths = |names: &[&str], card: Value, subset| chosen(names, card, None, subset).map(|found| found.paths);
        let converted = ["a/train/0000.parquet", "b/train/0000.parquet", "b/test/0000.parquet"];
        let error = paths(&converted, Value::Null, None).expect_err("two").to_string();
        assert!(error.contains("data.subset to be one of a, b, found none"), "{error}");
        assert_eq!(paths(&converted, Value::Null, Some("b")).expect("one"), ["b/train/0000.parquet"]);
        let with_default = ["a/train/0.parquet", "default/train/0.parquet"];
        assert_eq!(paths(&with_default, Value::Null, None).expect("one"), ["default/train/0.parquet"]);
        // Directories of single images are classes.
        assert_eq!(paths(&["cat/train/1.png", "dog/train/1.png"], Value::Null, None).expect("both").len(), 2);
        // Metadata with directories: names below them tell the split.
        let card = json!({ "configs": [
            { "config_name": "a", "data_dir": "a" }, { "config_name": "t", "default": true, "data_dir": "test-b/" },
        ] });
        let names = ["a/train.parquet", "a/test.parquet", "test-b/x.parquet", "test-b/y.parquet"];
        assert_eq!(paths(&names, card.clone(), Some("a")).expect("one"), ["a/train.parquet"]);
        assert_eq!(paths(&names, card, None).expect("all"), ["test-b/x.parquet", "test-b/y.parquet"]);
    }

    #[test]
    fn whole_addresses_are_paths_where_they_are_of_this_dataset() {
        let card = |path: &str| json!({ "configs": [{ "config_name": "c", "data_files": path }] });
        let paths = |path: &str| chosen(&["x/a.zip", "b.zip"], card(path), None, None).map(|found| found.paths);
        assert_eq!(paths("hf://datasets/a/b/x/*").expect("its own"), ["x/a.zip"]);
        assert_eq!(paths("hf://datasets/a/b@main/b.zip").expect("its own"), ["b.zip"]);
        for elsewhere in ["hf://datasets/a/bc/x/*", "hf://datasets/c/b/x.zip", "https://example.org/x.zip"] {
            let error = paths(elsewhere).expect_err("not here").to_string();
            assert!(error.contains(elsewhere), "{error}");
        }
    }
}
