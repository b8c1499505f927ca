//! Glob patterns of paths, as the metadata of datasets contain them.

/// Whether `path` matches `pattern`. `*` matches any part of a name, `?` one character of a name, `[abc]` and `[a-z]`
/// one of these characters, and `**` any number of names.
pub(crate) fn matches(pattern: &str, path: &str) -> bool {
    let pattern = pattern.strip_prefix("./").unwrap_or(pattern);
    match_from(&pattern.chars().collect::<Vec<_>>(), &path.chars().collect::<Vec<_>>())
}

/// Matches element by element and keeps all positions that the pattern can have reached, so the time does not grow
/// exponentially with the number of stars.
fn match_from(pattern: &[char], path: &[char]) -> bool {
    // reached[i] is true if the pattern so far matches the first i characters.
    let mut reached = vec![false; path.len() + 1];
    reached[0] = true;
    let mut rest = pattern;
    while let Some(first) = rest.first() {
        let mut next = vec![false; path.len() + 1];
        match first {
            '*' if rest.get(1) == Some(&'*') => {
                let whole_names = rest.get(2) == Some(&'/');
                for i in 0..=path.len() {
                    next[i] = reached[i] || (i > 0 && next[i - 1]);
                }
                if whole_names {
                    // `**/` matches nothing, or a text that ends with a slash.
                    next =
                        (0..=path.len()).map(|i| reached[i] || (i > 0 && next[i - 1] && path[i - 1] == '/')).collect();
                }
                rest = &rest[if whole_names { 3 } else { 2 }..];
            }
            '*' => {
                for i in 0..=path.len() {
                    next[i] = reached[i] || (i > 0 && next[i - 1] && path[i - 1] != '/');
                }
                rest = &rest[1..];
            }
            _ => {
                let (fits, length) = one(rest);
                for i in 1..=path.len() {
                    next[i] = reached[i - 1] && fits(path[i - 1]);
                }
                rest = &rest[length..];
            }
        }
        reached = next;
    }
    reached[path.len()]
}

/// The characters that the first element of a pattern matches, and the length of that element.
fn one(pattern: &[char]) -> (Box<dyn Fn(char) -> bool + '_>, usize) {
    match pattern[0] {
        '?' => (Box::new(|c| c != '/'), 1),
        '[' => match pattern.iter().skip(2).position(|c| *c == ']') {
            Some(end) => {
                let class = &pattern[1..end + 2];
                let (not, class) = match class.split_first() {
                    Some(('!' | '^', rest)) if !rest.is_empty() => (true, rest),
                    _ => (false, class),
                };
                let inside = move |c: char| {
                    class.contains(&c) || class.windows(3).any(|w| w[1] == '-' && (w[0]..=w[2]).contains(&c))
                };
                (Box::new(move |c| c != '/' && inside(c) != not), end + 3)
            }
            None => (Box::new(|c| c == '['), 1),
        },
        own => (Box::new(move |c| c == own), 1),
    }
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn patterns_match_as_in_a_shell() {
        for (pattern, path, meant) in [
            ("data/train-*", "data/train-00000-of-00001.parquet", true),
            ("data/train-*", "data/test-00000-of-00001.parquet", false),
            ("data/train-*", "data/train-x/y", false),
            ("*.parquet", "a.parquet", true),
            ("*.parquet", "a/b.parquet", false),
            ("**/*.parquet", "b.parquet", true),
            ("**/*.parquet", "a/c/b.parquet", true),
            ("**/train-*", "untrain-1", false),
            ("train/**", "train/a/b.png", true),
            ("train/**", "trainer/a.png", false),
            ("**", "a/b", true),
            ("./a.zip", "a.zip", true),
            ("a?c", "abc", true),
            ("a?c", "a/c", false),
            ("part-[0-3].tar", "part-2.tar", true),
            ("part-[0-3].tar", "part-4.tar", false),
            ("part-[!0-3].tar", "part-4.tar", true),
            ("a[b", "a[b", true),
            ("", "a", false),
            ("é*", "éa", true),
        ] {
            assert_eq!(matches(pattern, path), meant, "{pattern} {path}");
        }
        // The time must not grow exponentially with the number of stars.
        assert!(!matches(&format!("{}b", "a*".repeat(40)), &"a".repeat(300)));
    }
}
