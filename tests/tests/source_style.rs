//! Rules about the text of the sources that no lint checks: the width of lines, and where `unsafe` code may be.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
const MAX_COLUMNS: usize = 120;
const CHECKED: [&str; 8] = ["rs", "cu", "toml", "py", "sh", "md", "yml", "yaml"];
/// Folders at the top that hold what programs and compilers wrote.
const GENERATED: [&str; 4] = ["target", "runs", "samples", ".git"];

/// Every file below `folder`, without the generated folders at the top.
fn files_below(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let generated = path.parent() == Some(Path::new(ROOT)) && GENERATED.iter().any(|name| path.ends_with(name));
            if path.is_dir() && !generated {
                folders.push(path);
            } else if path.is_file() {
                files.push(path);
            }
        }
    }
    files
}

/// Whether a line of Markdown outside a code block cannot be broken: a row of a table, or one with a link.
fn unbreakable(line: &str) -> bool {
    line.trim_start().starts_with('|') || line.contains("](")
}

/// The numbers of the lines that are too wide, from 1.
fn wide_lines(text: &str, markdown: bool) -> Vec<usize> {
    let mut in_code = false;
    let mut wide = Vec::new();
    for (i, line) in text.lines().enumerate() {
        in_code ^= line.starts_with("```");
        let exempt = markdown && !in_code && unbreakable(line);
        if line.chars().count() > MAX_COLUMNS && !exempt {
            wide.push(i + 1);
        }
    }
    wide
}

#[test]
fn no_line_is_wider_than_120_columns() {
    let mut wide = Vec::new();
    for path in files_below(Path::new(ROOT)) {
        let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
        if !CHECKED.contains(&extension) && !path.starts_with(Path::new(ROOT).join(".ci")) {
            continue;
        }
        let text = std::fs::read_to_string(&path).unwrap();
        let lines = wide_lines(&text, extension == "md");
        let name = path.strip_prefix(ROOT).unwrap().display().to_string();
        wide.extend(lines.iter().map(|line| format!("{name}:{line}")));
    }
    assert!(wide.is_empty(), "wider than {MAX_COLUMNS} columns:\n{}", wide.join("\n"));
}

#[test]
fn wide_lines_are_found() {
    let wide = "x".repeat(121);
    assert_eq!(wide_lines(&format!("a\n{wide}\n"), false), [2]);
    assert_eq!(wide_lines(&format!("{}\n", "é".repeat(120)), false), []);
    let markdown = format!("| {wide} |\n[a]({wide})\n```\n| {wide} |\n```\n{wide}\n");
    assert_eq!(wide_lines(&markdown, true), [4, 6]);
}

/// CONTRIBUTING.md lists exactly the files that contain `unsafe` code.
#[test]
fn the_list_of_unsafe_files_is_complete() {
    let text = std::fs::read_to_string(Path::new(ROOT).join("CONTRIBUTING.md")).unwrap();
    let (_, section) = text.split_once("## Where `unsafe` is allowed").expect("the section of CONTRIBUTING.md");
    let section = section.split("\n## ").next().unwrap();
    let listed: BTreeSet<String> =
        section.lines().filter_map(|line| Some(line.strip_prefix("- `")?.split_once('`')?.0.to_owned())).collect();
    let has_unsafe = |text: &str| {
        let mut lines = text.lines().map(str::trim_start).filter(|line| !line.starts_with("//"));
        lines.any(|line| {
            ["unsafe {", "unsafe impl", "unsafe fn", "unsafe extern"].iter().any(|code| line.contains(code))
        })
    };
    let found: BTreeSet<String> = ["crates", "apps"]
        .iter()
        .flat_map(|folder| files_below(&Path::new(ROOT).join(folder)))
        .filter(|path| path.extension().is_some_and(|extension| extension == "rs"))
        .filter(|path| has_unsafe(&std::fs::read_to_string(path).unwrap()))
        .map(|path| path.strip_prefix(ROOT).unwrap().display().to_string())
        .collect();
    assert_eq!(listed, found, "CONTRIBUTING.md on the left, the sources on the right");
}

/// Every source file that a page names in backticks exists; `NAME` stands for a file that the reader adds.
#[test]
fn the_documents_name_existing_files() {
    let root = Path::new(ROOT);
    let pages = ["README.md", "CONTRIBUTING.md"].map(|page| root.join(page)).into_iter();
    let mut missing = Vec::new();
    for page in pages.chain(files_below(&root.join("docs"))) {
        let text = std::fs::read_to_string(&page).unwrap();
        for code in text.split('`').skip(1).step_by(2) {
            let starts = ["crates/", "apps/", "tests/", "benches/", "assets/", "ddpm-"];
            let is_file = starts.iter().any(|start| code.starts_with(start))
                && [".rs", ".py", ".toml", ".md", ".cu"].iter().any(|end| code.ends_with(end))
                && code.contains('/')
                && !code.contains([' ', '*', '{'])
                && !code.contains("NAME");
            let places = ["", "crates", "apps"].map(|folder| root.join(folder).join(code));
            if is_file && !places.iter().any(|place| place.is_file()) {
                missing.push(format!("{}: {code}", page.strip_prefix(root).unwrap().display()));
            }
        }
    }
    assert!(missing.is_empty(), "no such files:\n{}", missing.join("\n"));
}

/// The citations of one line, such as `Ho et al. 2020` and `Wu & He 2018`.
fn citations(line: &str) -> Vec<String> {
    let words: Vec<&str> = line.split(|c: char| c.is_whitespace() || "(),;:[]".contains(c)).collect();
    let is_name = |word: &str| word.chars().next().is_some_and(char::is_uppercase) && !word.contains('.');
    let year = |word: &str| {
        let digits = word.trim_end_matches(['a', 'b', '.', '\'']);
        let is_year = digits.len() == 4 && digits.chars().all(|c| c.is_ascii_digit());
        is_year.then(|| word.trim_end_matches(['.', '\'']).to_owned())
    };
    let mut found = Vec::new();
    for window in words.windows(4) {
        let [first, middle, last, end] = window else { continue };
        match (is_name(first), *middle, *last, year(last), year(end)) {
            (true, "et", "al.", _, Some(year)) => found.push(format!("{first} et al. {year}")),
            (true, "&", second, _, Some(year)) if is_name(second) => found.push(format!("{first} & {second} {year}")),
            _ => {}
        }
    }
    found
}

#[test]
fn citations_are_found() {
    let line = "(Ho et al. 2020, eq. 7; Wu & He 2018), Lu et al. 2022b. DDIM, 2021";
    assert_eq!(citations(line), ["Ho et al. 2020", "Wu & He 2018", "Lu et al. 2022b"]);
}

#[test]
fn every_citation_is_in_the_bibliography() {
    let root = Path::new(ROOT);
    let bibliography = std::fs::read_to_string(root.join("docs/references.md")).unwrap();
    let mut unknown = BTreeSet::new();
    for path in files_below(root) {
        let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
        // This file cites works only to test how citations are found.
        if !CHECKED.contains(&extension) || path.ends_with("source_style.rs") {
            continue;
        }
        for line in std::fs::read_to_string(&path).unwrap().lines() {
            let keys = citations(line).into_iter().filter(|key| !bibliography.contains(&format!("| {key} |")));
            unknown.extend(keys.map(|key| format!("{}: {key}", path.strip_prefix(root).unwrap().display())));
        }
    }
    let unknown: Vec<String> = unknown.into_iter().collect();
    assert!(unknown.is_empty(), "not in docs/references.md:\n{}", unknown.join("\n"));
}
