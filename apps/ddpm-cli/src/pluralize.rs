//! Numbers with a noun, for messages.

/// Formats a number with a noun in the singular or plural, such as `1 image` or `60,000 images`.
pub fn pluralize(number: usize, noun: &str) -> String {
    let ending = match number {
        1 => "",
        _ if noun.ends_with('s') => "es",
        _ => "s",
    };
    format!("{} {noun}{ending}", grouped(number))
}

/// Formats a number with its thousands separated, such as `60,000`.
pub fn grouped(number: usize) -> String {
    let digits = number.to_string();
    let groups: Vec<&str> =
        digits.as_bytes().rchunks(3).rev().filter_map(|group| std::str::from_utf8(group).ok()).collect();
    groups.join(",")
}

#[cfg(test)]
mod tests {
    use super::pluralize;

    #[test]
    fn one_is_singular_and_thousands_are_separated() {
        let formatted = [0, 1, 7, 1_000, 698_209, 1_000_000].map(|number| pluralize(number, "step"));
        assert_eq!(formatted, ["0 steps", "1 step", "7 steps", "1,000 steps", "698,209 steps", "1,000,000 steps"]);
        assert_eq!([1, 2].map(|number| pluralize(number, "class")), ["1 class", "2 classes"]);
    }
}
