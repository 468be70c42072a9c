//! The tables of `docs/api.md` that are made of the routes and of the kinds of problems.
//!
//! Enters: the page as it is. Leaves: the page with its tables as they must be. A table stands between two comments of
//! Markdown, `<!-- NAME: made by … -->` and `<!-- end -->`.

use std::fmt::Write as _;

use super::problem::ProblemKind;
use super::route::Route;
use super::routes;

/// How a table ends.
const END: &str = "<!-- end -->";

/// The page with its tables made anew; `None` if a table has no place in it.
pub fn page(text: &str) -> Option<String> {
    let page = replaced(text, "<!-- routes: ", &routes_table())?;
    replaced(&page, "<!-- problems: ", &problems_table())
}

fn replaced(text: &str, mark: &str, table: &str) -> Option<String> {
    let (before, rest) = text.split_once(mark)?;
    let (comment, rest) = rest.split_once('\n')?;
    let (_, after) = rest.split_once(END)?;
    Some(format!("{before}{mark}{comment}\n{table}{END}{after}"))
}

fn routes_table() -> String {
    let mut table = "| request | role | what it does | answers |\n|---|---|---|---|\n".to_owned();
    for Route { method, path, role, summary, answers, .. } in routes::all() {
        let answer = |answer: &super::route::Answer| format!("{}: {}", answer.status.as_str(), answer.means);
        let answers: Vec<_> = answers.iter().map(answer).collect();
        // Writing to a string cannot fail.
        let _ = writeln!(
            table,
            "| `{} {path}` | {} | {summary} | {} |",
            method.name(),
            role.name(),
            answers.join(" ")
        );
    }
    table
}

fn problems_table() -> String {
    let mut table = "| `type` | status | when |\n|---|---|---|\n".to_owned();
    for doc in ProblemKind::ALL.map(ProblemKind::doc) {
        let statuses: Vec<_> = doc.statuses.iter().map(u16::to_string).collect();
        let _ = writeln!(table, "| `/problems/{}` | {} | {} |", doc.slug, statuses.join(", "), doc.when);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_manual_has_the_routes_and_problems_that_there_are() {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/api.md");
        let text = std::fs::read_to_string(path).unwrap();
        let made = page(&text).expect("docs/api.md has a place for each table");
        assert!(
            made == text,
            "docs/api.md is old; write it with `cargo run -p causeway-controlplane --example api_documents`"
        );
    }

    #[test]
    fn a_page_without_a_place_is_left_alone() {
        assert_eq!(page("# Nothing"), None);
    }
}
