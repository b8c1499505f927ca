//! The classes of a set of images.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use crate::error::DataError;

/// The largest number of classes.
pub(crate) const MAX_CLASSES: usize = 10_000;

/// The classes of a set of images, and the class of each image.
///
/// # Examples
/// ```
/// use ddpm_data::{DataConfig, open};
///
/// let config: DataConfig = serde_json::from_str(r#"{ "path": "digits" }"#)?;
/// let digits = open(&config)?;
/// let labels = digits.labels().expect("each scan is a known digit");
/// assert_eq!(labels.classes().len(), 10);
/// assert_eq!(labels.classes()[7], "7");
/// assert_eq!(labels.label(0), 0);
/// assert_eq!(labels.counts().iter().sum::<usize>(), 1797);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Labels {
    classes: Vec<String>,
    of_image: Vec<u32>,
}

impl Labels {
    /// The classes with these names, and for each image the index of its class.
    ///
    /// # Errors
    /// [`DataError::Invalid`] when a label is no index of a class, two classes have the same name, or a class has no
    /// image.
    pub fn new(classes: Vec<String>, of_image: Vec<u32>) -> Result<Self, DataError> {
        let invalid = |problem: String| Err(DataError::invalid("labels", problem));
        if let Some(image) = of_image.iter().position(|label| *label as usize >= classes.len()) {
            let (last, found) = (classes.len().saturating_sub(1), of_image[image]);
            return invalid(format!("image {image}: expected a class from 0 to {last}, found {found}"));
        }
        let labels = Self { classes, of_image };
        if let Some(name) = (1..labels.classes.len()).find_map(|i| {
            let name = &labels.classes[i];
            labels.classes[..i].contains(name).then_some(name)
        }) {
            return invalid(format!("expected different names of classes, found {name} twice"));
        }
        match labels.empty_class() {
            Some(name) => invalid(format!("class {name} has no images")),
            None => Ok(labels),
        }
    }

    /// The names of the classes.
    pub fn classes(&self) -> &[String] {
        &self.classes
    }

    /// The class of image `index`, as an index into [`Labels::classes`].
    ///
    /// # Panics
    /// If there is no such image.
    pub fn label(&self, index: usize) -> u32 {
        self.of_image[index]
    }

    /// The class of each image.
    pub fn of_images(&self) -> &[u32] {
        &self.of_image
    }

    /// The number of images of each class.
    pub fn counts(&self) -> Vec<usize> {
        let mut counts = vec![0; self.classes.len()];
        self.of_image.iter().for_each(|label| counts[*label as usize] += 1);
        counts
    }

    /// The classes of the images `indices`. A class may have no image among them.
    pub(crate) fn subset(&self, indices: &[usize]) -> Self {
        Self { classes: self.classes.clone(), of_image: indices.iter().map(|index| self.of_image[*index]).collect() }
    }

    fn empty_class(&self) -> Option<&str> {
        let empty = self.counts().iter().position(|count| *count == 0)?;
        Some(&self.classes[empty])
    }
}

/// The label of an image as its file states it, before the classes of the whole set are known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum FileLabel {
    Missing,
    Name(Arc<str>),
    Number(u32),
}

/// The labels of the images of one file.
#[derive(Debug, Clone)]
pub(crate) struct FileLabels {
    pub(crate) of_image: Vec<FileLabel>,
    /// The names of the classes that are given as numbers, if the file states them.
    pub(crate) class_names: Option<Vec<String>>,
}

impl FileLabels {
    /// Numbers of classes without names.
    pub(crate) fn numbers(numbers: impl IntoIterator<Item = u32>) -> Self {
        Self { of_image: numbers.into_iter().map(FileLabel::Number).collect(), class_names: None }
    }

    /// No labels.
    pub(crate) fn missing(images: usize) -> Self {
        Self { of_image: vec![FileLabel::Missing; images], class_names: None }
    }

    /// Whether no image has a label.
    pub(crate) fn are_missing(&self) -> bool {
        self.of_image.iter().all(|label| *label == FileLabel::Missing)
    }

    /// The name of a class: a class that is a number without a name is named by its number.
    fn name(&self, label: &FileLabel) -> Result<Option<Arc<str>>, String> {
        let number = match label {
            FileLabel::Missing => return Ok(None),
            FileLabel::Name(name) => return Ok(Some(Arc::clone(name))),
            FileLabel::Number(number) => *number,
        };
        let Some(names) = &self.class_names else { return Ok(Some(number.to_string().into())) };
        match names.get(number as usize) {
            Some(name) => Ok(Some(name.as_str().into())),
            None => Err(format!("expected a class from 0 to {}, found {number}", names.len().saturating_sub(1))),
        }
    }
}

/// The classes of a set that consists of several files, whose images follow each other. `None` if there are fewer than
/// two classes.
///
/// The order of the classes is that of the numbers if a file has names for them; otherwise it is that of the names, by
/// their value if all of them are numbers.
///
/// # Errors
/// [`DataError::Invalid`] that names the set `path`, when an image has no class although others have one, a number has
/// no name, a named class has no image, or there are too many classes. `image_name` names an image by its index.
pub(crate) fn combine(
    path: &str,
    files: &[FileLabels],
    image_name: impl Fn(usize) -> String,
) -> Result<Option<Labels>, DataError> {
    const WAY_OUT: &str = "; data.labels = \"none\" (--set data.labels=none) trains without classes";
    let invalid = |name: &str, problem: String| DataError::invalid(name, problem + WAY_OUT);
    let mut names: Vec<Option<Arc<str>>> = Vec::new();
    for file in files {
        for label in &file.of_image {
            let name = file.name(label).map_err(|problem| invalid(&image_name(names.len()), problem))?;
            names.push(name);
        }
    }
    let declared = files.iter().filter(|file| !file.are_missing()).find_map(|file| file.class_names.as_ref());
    let distinct: HashSet<&str> = names.iter().flatten().map(AsRef::as_ref).collect();
    let mut classes: Vec<String> = distinct.into_iter().map(str::to_owned).collect();
    classes.sort_by(|a, b| order(a, b));
    if classes.len() < 2 {
        return Ok(None);
    }
    if classes.len() > MAX_CLASSES {
        return Err(invalid(path, format!("expected at most {MAX_CLASSES} classes, found {}", classes.len())));
    }
    let missing = names.iter().filter(|name| name.is_none()).count();
    if missing > 0 {
        let first = names.iter().position(Option::is_none).map(&image_name).unwrap_or_default();
        let problem = format!("expected a class for every image, found {missing} without one, {first} among them");
        return Err(invalid(path, problem));
    }
    if let Some(declared) = declared {
        if let Some(empty) = declared.iter().find(|name| classes.binary_search_by(|c| order(c, name)).is_err()) {
            return Err(invalid(path, format!("class {empty} has no images")));
        }
        let others = classes.into_iter().filter(|class| !declared.contains(class));
        classes = declared.iter().cloned().chain(others).collect();
    }
    let index: HashMap<&str, u32> = (0u32..).zip(&classes).map(|(i, name)| (name.as_str(), i)).collect();
    let of_image = names.iter().flatten().filter_map(|name| index.get(name.as_ref()).copied()).collect();
    Labels::new(classes, of_image).map(Some)
}

/// The order of names: numbers by their value and before other names.
fn order(a: &str, b: &str) -> std::cmp::Ordering {
    let number = |name: &str| name.parse::<u64>().map_or((1, 0), |number| (0, number));
    number(a).cmp(&number(b)).then_with(|| a.cmp(b))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(names: &[&str]) -> FileLabels {
        let label = |name: &&str| if name.is_empty() { FileLabel::Missing } else { FileLabel::Name((*name).into()) };
        FileLabels { of_image: names.iter().map(label).collect(), class_names: None }
    }

    fn combined(files: &[FileLabels]) -> Result<Option<Labels>, String> {
        combine("set", files, |i| format!("image {i}")).map_err(|error| error.to_string())
    }

    #[test]
    fn names_are_sorted_and_numbers_by_value() {
        let labels = combined(&[named(&["b", "a"]), named(&["b"])]).unwrap().unwrap();
        assert_eq!((labels.classes(), labels.of_images()), (&["a".to_owned(), "b".into()][..], &[1, 0, 1][..]));
        let labels = combined(&[FileLabels::numbers([10, 2, 1, 10])]).unwrap().unwrap();
        assert_eq!((labels.classes().join(" "), labels.of_images()), ("1 2 10".to_owned(), &[2, 1, 0, 2][..]));
        assert_eq!(labels.counts(), [1, 1, 2]);
    }

    #[test]
    fn declared_names_keep_their_order() {
        let declared = |numbers: &[u32], names: &[&str]| FileLabels {
            class_names: Some(names.iter().map(|name| name.to_string()).collect()),
            ..FileLabels::numbers(numbers.iter().copied())
        };
        let labels = combined(&[declared(&[1, 0], &["truck", "airplane"])]).unwrap().unwrap();
        assert_eq!((labels.classes().join(" "), labels.of_images()), ("truck airplane".to_owned(), &[1, 0][..]));
        let error = combined(&[declared(&[0, 2], &["a", "b"])]).unwrap_err();
        assert!(error.starts_with("image 1: expected a class from 0 to 1, found 2; data.labels"), "{error}");
        let error = combined(&[declared(&[0, 1], &["a", "b", "c"])]).unwrap_err();
        assert!(error.starts_with("set: class c has no images; "), "{error}");
    }

    #[test]
    fn a_set_without_two_classes_has_no_labels() {
        assert_eq!(combined(&[named(&["a", "a"])]), Ok(None));
        assert_eq!(combined(&[FileLabels::missing(3)]), Ok(None));
        assert_eq!(combined(&[named(&["a", ""])]), Ok(None));
        let error = combined(&[named(&["a", "", "b", ""])]).unwrap_err();
        assert!(error.contains("found 2 without one, image 1 among them"), "{error}");
    }

    #[test]
    fn labels_are_checked() {
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        assert!(Labels::new(names(&["a", "b"]), vec![0, 1]).is_ok());
        for (classes, labels) in [(&["a", "b"], [0, 2]), (&["a", "a"], [0, 1]), (&["a", "b"], [1, 1])] {
            assert!(Labels::new(names(classes), labels.to_vec()).is_err());
        }
    }
}
