//! Folders as classes, the convention of torchvision's `ImageFolder`.

use std::path::{Component, Path};
use std::sync::Arc;

use crate::labels::{FileLabel, FileLabels};

/// The class of each image of an archive: the folder that it is in, or that its folder is in. Folders that hold all
/// images of the archive are no classes: an archive of a folder `emoji` holds `emoji/food/apple.png`.
///
/// Images that are in no such folder have no class.
pub(crate) fn folder_labels<'a>(names: impl Iterator<Item = &'a Path> + Clone) -> FileLabels {
    let depth = common_depth(names.clone());
    FileLabels { of_image: names.map(|name| folder_label(name, depth)).collect(), class_names: None }
}

/// The class of an image: folder number `depth` of its path, or none if the path is shorter.
pub(crate) fn folder_label(path: &Path, depth: usize) -> FileLabel {
    let folders = folders(path);
    folders.get(depth).map_or(FileLabel::Missing, |folder| FileLabel::Name(Arc::from(folder.as_ref())))
}

/// The names of the folders in a path, from the outermost.
fn folders(path: &Path) -> Vec<std::borrow::Cow<'_, str>> {
    let parts = path.components().filter_map(|part| match part {
        Component::Normal(name) => Some(name.to_string_lossy()),
        _ => None,
    });
    let mut folders: Vec<_> = parts.collect();
    folders.pop();
    folders
}

/// The number of folders that all paths have in common.
pub(crate) fn common_depth<'a>(mut paths: impl Iterator<Item = &'a Path>) -> usize {
    let Some(first) = paths.next() else { return 0 };
    let first = folders(first);
    let common = |other: &Path| first.iter().zip(folders(other)).take_while(|(a, b)| **a == *b).count();
    paths.map(common).fold(first.len(), usize::min)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn classes(names: &[&str]) -> Vec<String> {
        let labels = folder_labels(names.iter().map(Path::new));
        let name = |label: &FileLabel| match label {
            FileLabel::Name(name) => name.to_string(),
            _ => "-".to_owned(),
        };
        labels.of_image.iter().map(name).collect()
    }

    #[test]
    fn the_outermost_folder_that_differs_is_the_class() {
        assert_eq!(classes(&["a/1.png", "b/2.png", "b/deep/3.png"]), ["a", "b", "b"]);
        assert_eq!(classes(&["set/a/1.png", "set/b/2.png"]), ["a", "b"]);
        assert_eq!(classes(&["./set/a/1.png", "./set/b/2.png"]), ["a", "b"]);
        assert_eq!(classes(&["1.png", "b/2.png"]), ["-", "b"]);
        assert_eq!(classes(&["1.png", "2.png"]), ["-", "-"]);
        assert_eq!(classes(&["a/1.png", "a/2.png"]), ["-", "-"]);
        assert_eq!(classes(&["a/1.png"]), ["-"]);
    }
}
