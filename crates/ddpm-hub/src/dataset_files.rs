//! Selection of the files of a dataset that hold the images of a split.

use crate::card::{Subset, image_column, subsets};
use crate::error::{HubError, Result};
use crate::glob::matches;
use crate::listing::{Listing, file_count, some_names};
use crate::repo_id::RepoId;

/// The images of a dataset to download.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DatasetSelection {
    /// The name of the split; `train` if absent.
    pub split: Option<String>,
    /// The name of the subset in the metadata of the dataset; the default subset if absent.
    pub subset: Option<String>,
}

/// The files of a split.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct SelectedFiles {
    pub(crate) paths: Vec<String>,
    /// The column of images, if the metadata name it.
    pub(crate) column: Option<String>,
    split: String,
    /// The reason for the selection, for messages.
    why: String,
    /// The number of other files that may hold images.
    left_out: usize,
}

impl SelectedFiles {
    /// A description of the selection for the log.
    pub(crate) fn description(&self) -> String {
        let Self { paths, split, why, left_out, .. } = self;
        format!("split {split}, {why}: {}; left out {left_out}", file_count(paths.len()))
    }
}

const PARQUET: [&str; 1] = [".parquet"];
const ARCHIVES: [&str; 4] = [".zip", ".tar", ".tar.gz", ".tgz"];
const IMAGES: [&str; 8] = [".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff"];

/// The words that name a split in a path. The first word of each list is the name of the split.
const SPLIT_WORDS: [&[&str]; 3] =
    [&["train", "training"], &["test", "testing", "eval", "evaluation"], &["validation", "valid", "val", "dev"]];

/// Selects the files by the metadata if they list files, else by file names. Among names, Parquet files take precedence
/// over archives, and archives over single images. The files of the split are those whose names contain a word for it;
/// if no name contains a word for any split, all files are training data.
pub(crate) fn dataset_files(listing: &Listing, wanted: &DatasetSelection, id: &RepoId) -> Result<SelectedFiles> {
    let split = wanted.split.as_deref().unwrap_or("train");
    let all = listing.names();
    let names = image_files(&all);
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
            let patterns = repository_patterns(&of_split.1, id)?;
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
                Some(subset) => names.iter().copied().filter(|name| is_in_subset(name, subset)).collect(),
                None => names.clone(),
            };
            let (found, why) = by_names(of_subset, 0, split);
            (if wanted.subset.is_none() { default_subset_files(found, split, id)? } else { found }, why)
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
    Ok(SelectedFiles { paths, column, split: split.to_owned(), why, left_out })
}

/// The files that may hold images. A table of captions and labels beside images, `metadata.parquet` of the library
/// datasets, is not one of them.
fn image_files<'a>(names: &[&'a str]) -> Vec<&'a str> {
    let beside = names.iter().any(|name| has_ending(name, &ARCHIVES) || has_ending(name, &IMAGES));
    let is_table = |name: &str| beside && name.rsplit('/').next() == Some("metadata.parquet");
    names.iter().copied().filter(|name| holds_images(name) && !is_table(name)).collect()
}

/// The patterns as paths in this repository. Metadata may contain complete `hf://` addresses.
fn repository_patterns(patterns: &[String], id: &RepoId) -> Result<Vec<String>> {
    let own = |pattern: &String| match pattern.split_once("://") {
        None => Some(pattern.clone()),
        Some(("hf", rest)) => {
            let rest = rest.strip_prefix("datasets/")?.strip_prefix(id.name())?;
            let (revision, path) = rest.split_once('/')?;
            (revision.is_empty() || revision.starts_with('@')).then(|| path.to_owned())
        }
        Some(_) => None,
    };
    let elsewhere = |pattern: &String| HubError::ExternalFiles {
        repository: id.to_string(),
        pattern: pattern.escape_debug().collect(),
    };
    patterns.iter().map(|pattern| own(pattern).ok_or_else(|| elsewhere(pattern))).collect()
}

/// Whether a component of the path, or its beginning, is the name of the subset.
fn is_in_subset(name: &str, subset: &str) -> bool {
    name.split('/').any(|part| part == subset) || name.strip_prefix(subset).is_some_and(|rest| rest.starts_with('/'))
}

/// The files of the split, and the reason. The first `skipped` bytes of each name are not examined.
fn by_names<'a>(names: Vec<&'a str>, skipped: usize, split: &str) -> (Vec<&'a str>, String) {
    for kind in [&PARQUET[..], &ARCHIVES, &IMAGES] {
        let of_kind: Vec<&str> = names.iter().copied().filter(|name| has_ending(name, kind)).collect();
        if of_kind.is_empty() {
            continue;
        }
        // If no name contains a word for a split, all files are training data.
        let names_a_split =
            |name: &&str| SPLIT_WORDS.iter().any(|words| split_word(&name[skipped..], words[0]).is_some());
        if split == "train" && !of_kind.iter().any(names_a_split) {
            return (of_kind, "no name contains the word for a split".to_owned());
        }
        let word_of = |name: &&str| split_word(&name[skipped..], split);
        let mut words: Vec<String> = of_kind.iter().filter_map(word_of).collect();
        words.sort();
        words.dedup();
        let found: Vec<&str> = of_kind.iter().copied().filter(|name| word_of(name).is_some()).collect();
        if found.is_empty() {
            let word = |words: &&[&str]| of_kind.iter().find_map(|name| split_word(&name[skipped..], words[0]));
            let others: Vec<String> = SPLIT_WORDS.iter().filter_map(word).collect();
            return (found, format!("some names contain {}", others.join(" and ")));
        }
        return (found, format!("by the word {} in their names", words.join(" or ")));
    }
    (Vec::new(), String::new())
}

/// On the branch with the Hub's conversions to Parquet (`SUBSET/SPLIT/0000.parquet`): the files of the default subset.
fn default_subset_files<'a>(found: Vec<&'a str>, split: &str, id: &RepoId) -> Result<Vec<&'a str>> {
    let subset = |name: &'a str| {
        let (directory, _) = name.rsplit_once('/').filter(|_| has_ending(name, &PARQUET))?;
        let (subset, last) = directory.rsplit_once('/')?;
        split_word(last, split).map(|_| subset)
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

/// The word in the path that names the split. Words are separated by digits and punctuation, as in the library
/// datasets.
fn split_word(path: &str, split: &str) -> Option<String> {
    let words = SPLIT_WORDS.iter().find(|words| words[0] == split).copied().unwrap_or(&[]);
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
    HubError::UnknownChoice { repository: id.to_string(), field, known, found: show(found) }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::listing::Entry;

    fn chosen(names: &[&str], card: Value, split: Option<&str>, subset: Option<&str>) -> Result<SelectedFiles> {
        let files = names.iter().map(|name| Entry::named((*name).to_owned())).collect();
        let listing = Listing { commit: "0".repeat(40), files, card, whole: true };
        let wanted = DatasetSelection { split: split.map(str::to_owned), subset: subset.map(str::to_owned) };
        dataset_files(&listing, &wanted, &"a/b".parse().expect("an id"))
    }

    #[test]
    fn metadata_take_precedence_over_names() {
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
    fn names_determine_the_split_if_metadata_do_not() {
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
            only_test.contains("split train (some names contain test)") && only_test.contains("test.parquet"),
            "{only_test}"
        );
        assert!(chosen(&["a.csv"], Value::Null, None, None).is_err());
        // Digits separate words, but the name of a split may contain digits.
        assert_eq!(paths(&["train1.parquet", "test1.parquet", "trainer.parquet"], None), ["train1.parquet"]);
        assert_eq!(paths(&["fold1.parquet", "fold2.parquet"], Some("fold2")), ["fold2.parquet"]);
        // A table of captions is ignored if there are images.
        assert_eq!(paths(&["metadata.parquet", "train/metadata.parquet", "a.png"], None), ["a.png"]);
        assert_eq!(paths(&["metadata.parquet"], None), ["metadata.parquet"]);
    }

    #[test]
    fn the_selection_is_described() {
        let description = |names: &[&str], card| chosen(names, card, None, None).expect("images").description();
        let named = description(&["train1.zip", "a/training/b.zip", "test.zip", "x.png"], Value::Null);
        assert_eq!(named, "split train, by the word train or training in their names: 2 files; left out 2");
        assert_eq!(
            description(&["a.png", "x.txt"], Value::Null),
            "split train, no name contains the word for a split: 1 file; left out 0"
        );
        let card = json!({ "configs": [{ "config_name": "c", "data_files": "a*" }] });
        assert_eq!(description(&["a.zip", "b.zip"], card), "split train, as the metadata of c say: 1 file; left out 1");
    }

    #[test]
    fn one_of_several_subsets_is_selected() {
        let paths = |names: &[&str], card: Value, subset| chosen(names, card, None, subset).map(|found| found.paths);
        let converted = ["a/train/0000.parquet", "b/train/0000.parquet", "b/test/0000.parquet"];
        let error = paths(&converted, Value::Null, None).expect_err("two").to_string();
        assert!(error.contains("data.subset to be one of a, b, found none"), "{error}");
        assert_eq!(paths(&converted, Value::Null, Some("b")).expect("one"), ["b/train/0000.parquet"]);
        let with_default = ["a/train/0.parquet", "default/train/0.parquet"];
        assert_eq!(paths(&with_default, Value::Null, None).expect("one"), ["default/train/0.parquet"]);
        // The directories of single images are classes, not subsets.
        assert_eq!(paths(&["cat/train/1.png", "dog/train/1.png"], Value::Null, None).expect("both").len(), 2);
        // Metadata with directories: the names of the files below them determine the split.
        let card = json!({ "configs": [
            { "config_name": "a", "data_dir": "a" }, { "config_name": "t", "default": true, "data_dir": "test-b/" },
        ] });
        let names = ["a/train.parquet", "a/test.parquet", "test-b/x.parquet", "test-b/y.parquet"];
        assert_eq!(paths(&names, card.clone(), Some("a")).expect("one"), ["a/train.parquet"]);
        assert_eq!(paths(&names, card, None).expect("all"), ["test-b/x.parquet", "test-b/y.parquet"]);
    }

    #[test]
    fn complete_addresses_of_this_dataset_are_paths() {
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
