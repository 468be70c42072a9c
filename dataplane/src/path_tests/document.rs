//! `docs/packet.md` draws what `path.rs` does: the same stages in the same order, and every drop reason it names exists.

use crate::path::STAGES;

#[test]
fn the_document_lists_the_stages_in_their_order() {
    let text = include_str!("../../../docs/packet.md");
    let rows = text.lines().filter_map(|line| line.strip_prefix("| `"));
    let listed: Vec<_> = rows.filter_map(|row| row.split_once("` |")).map(|(name, _)| name).collect();
    let stages: Vec<_> = STAGES.iter().map(|(name, _)| *name).collect();
    assert_eq!(listed, stages);
    let drawing = text.split("```").nth(1).unwrap();
    for stage in stages {
        assert!(drawing.contains(stage), "{stage} is not in the drawing");
    }
}
