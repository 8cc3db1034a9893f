//! A table that fits a terminal: columns shrink before any is left out, and nothing in a cell drives the terminal.

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use crate::cli::text::{cut, line};

/// A column is at most so wide, and cut no further than this while another one can be.
const WIDTHS: (usize, usize) = (60, 8);
/// Between two columns.
const GAP: usize = 2;

/// What stands for what was cut.
const CUT: char = '…';

/// A cell of at most so many columns of the terminal.
fn fitted(text: &str, width: usize) -> String {
    // What lies far behind the cut need not be looked at.
    let text = cut(text, WIDTHS.0.max(width) * 2);
    if text.width() <= width {
        return text;
    }
    let mut out = String::new();
    let mut left = width.saturating_sub(1);
    for c in text.chars() {
        let wide = c.width().unwrap_or(0);
        if wide > left {
            break;
        }
        left -= wide;
        out.push(c);
    }
    out.push(CUT);
    out
}

/// The widths of as many columns as fit into so many of the terminal: of each its own, cut where it must be.
fn layout(natural: &[usize], terminal: usize) -> Vec<usize> {
    let needed = |widths: &[usize]| widths.iter().sum::<usize>() + GAP * widths.len().saturating_sub(1);
    let mut widths: Vec<usize> = natural.iter().map(|width| (*width).min(WIDTHS.0)).collect();
    while needed(&widths) > terminal {
        let widest = widths.iter().copied().max().unwrap_or(0);
        if widest > WIDTHS.1 {
            let last = widths.iter().rposition(|width| *width == widest);
            last.into_iter().for_each(|at| widths[at] -= 1);
        } else if widths.len() > 1 {
            // Another one is left out, and the others have room again.
            let shown = widths.len() - 1;
            return layout(&natural[..shown], terminal);
        } else {
            widths.iter_mut().for_each(|width| *width = terminal.max(1));
        }
    }
    widths
}

/// The table; `width` is the terminal's, without one all columns are shown.
pub(super) fn render(head: &[String], cells: &[Vec<String>], width: Option<usize>) -> String {
    let shown = |text: &String| line(text).width();
    let natural: Vec<usize> = (0..head.len())
        .map(|at| {
            let widest = cells.iter().filter_map(|row| row.get(at)).map(shown).max().unwrap_or(0);
            widest.max(shown(&head[at]))
        })
        .collect();
    let widths = match width {
        Some(terminal) => layout(&natural, terminal),
        None => natural.iter().map(|width| (*width).min(WIDTHS.0)).collect(),
    };
    let mut out = String::new();
    for row in std::iter::once(head).chain(cells.iter().map(Vec::as_slice)) {
        let mut text = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            let cell = fitted(cell, *width);
            let blanks = width.saturating_sub(cell.width()) + GAP;
            text.push_str(&cell);
            text.extend(std::iter::repeat_n(' ', blanks));
        }
        out.push_str(text.trim_end());
        out.push('\n');
    }
    let left_out: Vec<String> = head[widths.len()..].iter().map(|name| cut(name, 30)).collect();
    if !left_out.is_empty() {
        let names = fitted(&left_out.join(", "), width.unwrap_or(WIDTHS.0).saturating_sub(40).max(20));
        out.push_str(&format!("and {} columns more (`--json` has them): {names}\n", left_out.len()));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(cells: &[&str]) -> Vec<String> {
        cells.iter().map(|cell| (*cell).to_owned()).collect()
    }

    #[test]
    fn a_table_fits_the_terminal() {
        let head = texts(&["id", "text", "more"]);
        let long = "x".repeat(200);
        let cells = vec![texts(&["1", &long, "a"]), texts(&["22", "漢字漢字漢字漢字漢字漢字漢字", &long])];
        for width in [1, 5, 10, 20, 40, 80, 300] {
            let shown = render(&head, &cells, Some(width));
            let lines: Vec<&str> = shown.lines().take(3).collect();
            assert!(lines.iter().all(|line| line.width() <= width), "{width}:\n{shown}");
        }
        let shown = render(&head, &cells, Some(24));
        assert_eq!(shown.lines().next().unwrap().split_whitespace().count(), 3, "{shown}");
        assert!(render(&head, &cells, Some(12)).contains("columns more (`--json` has them)"));
        assert!(render(&head, &cells, None).contains(&"x".repeat(59)));
    }

    #[test]
    fn nothing_in_a_cell_drives_the_terminal_or_ends_the_line() {
        let head = texts(&["a\u{1b}[2J", "b"]);
        let cells = vec![texts(&["\r\n\u{202e}x\u{9b}31m", "\t"])];
        let shown = render(&head, &cells, Some(80));
        assert_eq!(shown.lines().count(), 2, "{shown}");
        assert!(!shown.chars().any(|c| c != '\n' && c.is_control() || c == '\u{202e}'), "{shown:?}");
    }

    #[test]
    fn no_table_is_empty() {
        assert_eq!(render(&texts(&["ROW"]), &[], Some(80)), "ROW\n");
        assert_eq!(layout(&[], 80), Vec::<usize>::new());
    }
}
