//! Numbers of things in words.

/// How many there are: `1 image`, `60,000 images`.
pub fn counted(number: usize, thing: &str) -> String {
    let digits = number.to_string();
    let groups: Vec<&str> =
        digits.as_bytes().rchunks(3).rev().filter_map(|group| std::str::from_utf8(group).ok()).collect();
    format!("{} {thing}{}", groups.join(","), if number == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::counted;

    #[test]
    fn one_is_one_and_thousands_are_set_apart() {
        let said = [0, 1, 7, 1_000, 698_209, 1_000_000].map(|n| counted(n, "step"));
        assert_eq!(said, ["0 steps", "1 step", "7 steps", "1,000 steps", "698,209 steps", "1,000,000 steps"]);
    }
}
