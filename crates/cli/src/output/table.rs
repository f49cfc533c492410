//! Tables: aligned columns without borders.

use std::fmt::Write as _;

use owo_colors::OwoColorize as _;

/// Renders a table with a head. Cells may carry styles.
pub(crate) fn table(head: &[&str], rows: &[Vec<String>]) -> String {
    let width = |text: &str| anstream::adapter::strip_str(text).to_string().chars().count();
    let mut widths: Vec<usize> = head.iter().map(|cell| cell.len()).collect();
    for row in rows {
        for (column, cell) in row.iter().enumerate() {
            widths[column] = widths[column].max(width(cell));
        }
    }
    let mut text = String::new();
    let head: Vec<String> = head.iter().map(|cell| cell.dimmed().to_string()).collect();
    for row in std::iter::once(&head).chain(rows) {
        for (column, cell) in row.iter().enumerate() {
            text.push_str(cell);
            if column + 1 < row.len() {
                let pad = widths[column] - width(cell) + 2;
                let _ = write!(text, "{:pad$}", "");
            }
        }
        text.push('\n');
    }
    text
}

/// Renders names and values below one another; those without a value are left out.
pub(crate) fn fields(fields: &[(&str, Option<String>)]) -> String {
    let width = fields.iter().filter(|(_, value)| value.is_some()).map(|(name, _)| name.chars().count()).max().unwrap_or(0);
    let mut text = String::new();
    for (name, value) in fields {
        let Some(value) = value else { continue };
        let pad = width - name.chars().count() + 2;
        let mut lines = value.lines();
        let _ = writeln!(text, "{}{:pad$}{}", name.dimmed(), "", lines.next().unwrap_or_default());
        for line in lines {
            let _ = writeln!(text, "{:indent$}{line}", "", indent = width + 2);
        }
    }
    text
}
