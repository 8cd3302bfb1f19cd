//! Text in lines that a terminal of so many columns shows whole: tables and sentences, never commands. Pure; what is printed, and
//! whether anybody's terminal is that narrow, is `output`'s.

/// Rows with columns as wide as their widest cell; the last column is as it is.
pub fn table(rows: &[Vec<String>]) -> Vec<String> {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|cell| letters(cell)).max();
    let widths: Vec<usize> = (0..columns).map(|column| width(column).unwrap_or(0)).collect();
    let padded = |(cell, width): (&String, &usize)| format!("{cell:<width$}");
    let line =
        |row: &Vec<String>| row.iter().zip(&widths).map(padded).collect::<Vec<_>>().join("  ").trim_end().to_owned();
    rows.iter().map(line).collect()
}

/// The rows as a terminal of `columns` shows them best: what does not fit is continued below its column. Where the last
/// column has less than a third of the terminal, the columns before it join it; where that is no help either, each row is
/// its first cell and the others below. Lines are broken at blanks only, so that paths stay whole.
pub fn wrapped(rows: &[Vec<String>], columns: usize) -> Vec<String> {
    let lines = table(rows);
    let last = rows.iter().map(Vec::len).max().unwrap_or(0).saturating_sub(1);
    if last == 0 || lines.iter().all(|line| letters(line) <= columns) {
        return lines;
    }
    for kept in (1..=last).rev() {
        let before = table(&rows.iter().map(|row| row[..row.len().min(kept)].to_vec()).collect::<Vec<_>>());
        let indent = before.iter().map(|line| letters(line) + 2).max().unwrap_or(0);
        let width = columns.saturating_sub(indent);
        let longest = rows.iter().flat_map(|row| rest(row, kept)).flat_map(|cell| cell.split(' ')).map(letters).max();
        if width >= columns / 3 && (kept == last || longest.unwrap_or(0) <= width) {
            let after = table(&rows.iter().map(|row| rest(row, kept).to_vec()).collect::<Vec<_>>());
            let line = |(before, after): (&String, &String)| hung(before, indent, after, width);
            return before.iter().zip(&after).flat_map(line).collect();
        }
    }
    let below = |row: &Vec<String>| {
        let others: Vec<&str> = rest(row, 1).iter().map(String::as_str).filter(|cell| !cell.is_empty()).collect();
        let first = row.first().map_or("", String::as_str);
        let others = lines_of(&others.join("  "), columns.saturating_sub(2));
        [first.to_owned()].into_iter().chain(others.iter().map(|line| format!("  {line}"))).collect::<Vec<_>>()
    };
    rows.iter().flat_map(below).collect()
}

/// A sentence that begins `used` letters into its first line; its other lines hang below that place. What stands in
/// backquotes stays whole, so that it can be copied.
pub fn sentence(text: &str, used: usize, columns: usize) -> String {
    let width = columns.saturating_sub(used);
    let fold = |line: &str| pieces(whole(line, '`'), width).join(&format!("\n{:used$}", ""));
    text.split('\n').map(fold).collect::<Vec<_>>().join("\n")
}

/// The text split at blanks, but not between two of `quote`; where one is left open, it quotes nothing.
fn whole(text: &str, quote: char) -> impl Iterator<Item = &str> {
    let is_closed = text.matches(quote).count().is_multiple_of(2);
    let mut is_inside = false;
    text.split(move |letter| {
        is_inside ^= letter == quote && is_closed;
        letter == ' ' && !is_inside
    })
}

/// The words in pieces of at most so many letters, but for words that are longer.
fn pieces<'a>(words: impl Iterator<Item = &'a str>, width: usize) -> Vec<String> {
    let mut pieces: Vec<String> = Vec::new();
    for word in words {
        match pieces.last_mut() {
            Some(piece) if letters(piece) + 1 + letters(word) <= width => {
                piece.push(' ');
                piece.push_str(word);
            }
            Some(_) | None => pieces.push(word.to_owned()),
        }
    }
    pieces
}

/// A text beside what stands before it, its other lines below itself.
fn hung(before: &str, indent: usize, text: &str, width: usize) -> Vec<String> {
    let mut lines = lines_of(text, width).into_iter();
    let first = format!("{before:<indent$}{}", lines.next().unwrap_or_default()).trim_end().to_owned();
    [first].into_iter().chain(lines.map(|line| format!("{:indent$}{line}", ""))).collect()
}

/// The text in lines of at most `width` letters, but for words that are longer; without the blanks it was broken at.
fn lines_of(text: &str, width: usize) -> Vec<String> {
    let pieces = pieces(text.split(' '), width);
    pieces.iter().map(|piece| piece.trim().to_owned()).filter(|piece| !piece.is_empty()).collect()
}

/// The cells behind the first ones.
fn rest(row: &[String], kept: usize) -> &[String] {
    row.get(kept..).unwrap_or_default()
}

/// How wide it is, without what colours it.
fn letters(text: &str) -> usize {
    let mut is_escape = false;
    let is_shown = |letter: &char| match (is_escape, *letter) {
        (false, '\x1b') => {
            is_escape = true;
            false
        }
        (false, _) => true,
        (true, letter) => {
            is_escape = !letter.is_ascii_alphabetic();
            false
        }
    };
    text.chars().filter(is_shown).count()
}

#[cfg(test)]
mod tests {
    use super::{sentence, table, wrapped};

    fn rows<const COLUMNS: usize>(rows: &[[&str; COLUMNS]]) -> Vec<Vec<String>> {
        rows.iter().map(|row| row.map(str::to_owned).to_vec()).collect()
    }

    #[test]
    fn columns_align_and_lines_do_not_trail() {
        assert_eq!(table(&rows(&[["a", "b"], ["long", ""]])), ["a     b", "long"]);
    }

    #[test]
    fn a_narrow_terminal_continues_the_last_column_below_itself() {
        let rows = rows(&[["ok", "git", "a b c d"], ["FAILED", "disk", "`/a/very/long/path` is full"]]);
        let expected = ["ok      git   a b c d", "FAILED  disk  `/a/very/long/path`", "              is full"];
        assert_eq!(wrapped(&rows, 30), expected);
        assert_eq!(wrapped(&rows, 80), table(&rows));
        // Too narrow for columns.
        let expected = ["ok", "  git  a b c d", "FAILED", "  disk", "  `/a/very/long/path`", "  is full"];
        assert_eq!(wrapped(&rows, 16), expected);
    }

    #[test]
    fn where_the_last_column_has_no_room_the_one_before_joins_it() {
        let rows = rows(&[["hub.cache", "/a/long/path/cache", "variable `HF_HOME`"], ["hub", "none", "default"]]);
        let expected =
            ["hub.cache  /a/long/path/cache", "           variable `HF_HOME`", "hub        none", "           default"];
        assert_eq!(wrapped(&rows, 34), expected);
        let expected = [
            "hub.cache  /a/long/path/cache  variable",
            "           `HF_HOME`",
            "hub        none                default",
        ];
        assert_eq!(wrapped(&rows, 45), expected);
    }

    #[test]
    fn sentences_break_at_blanks_and_commands_stay_whole() {
        let text = "try `cargo xtask models list` and then look at it";
        assert_eq!(sentence(text, 6, 80), text);
        let expected = "try\n      `cargo xtask models list`\n      and then look at it";
        assert_eq!(sentence(text, 6, 26), expected);
        // A mark that is not closed quotes nothing; lines that there are stay.
        assert_eq!(sentence("a ` b c\nd", 2, 7), "a ` b\n  c\nd");
        assert_eq!(sentence("\x1b[1mab\x1b[0m cd ef", 0, 5), "\x1b[1mab\x1b[0m cd\nef");
    }
}
