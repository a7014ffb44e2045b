//! Family `block`.

use crate::node::{Node, losses};

#[test]
fn attaches() {
    let mut node = Node::start(&["process", "block"]);
    let batch = node.collect("block");
    assert_eq!(losses(&batch), []);
    assert!(batch.programs.iter().all(|program| program.attached));
}
