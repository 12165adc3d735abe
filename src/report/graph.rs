//! Who waits for whom, as a picture's source.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::domain::desired::DesiredState;
use crate::domain::ids::Ctid;
use crate::plan::Graph;
use crate::report::text::one_line;

/// An edge: the first comes before the second; whether the second is cloned from the first.
type Edge = (Ctid, Ctid, bool);

fn edges(desired: &DesiredState, graph: &Graph) -> BTreeSet<Edge> {
    let mut edges = BTreeSet::new();
    for ctid in graph.containers() {
        let Some(container) = desired.containers.get(&ctid) else {
            continue;
        };
        let source = container.clone_source();
        for need in container.needs() {
            edges.insert((need, ctid, source == Some(need)));
        }
        for need in &container.externals {
            edges.insert((*need, ctid, false));
        }
    }
    edges
}

/// Every node with its label, and whether phoenix manages it.
fn nodes(desired: &DesiredState, graph: &Graph) -> Vec<(Ctid, String, bool)> {
    let managed = graph.containers().filter_map(|ctid| {
        let container = desired.containers.get(&ctid)?;
        Some((ctid, format!("{ctid} {}", one_line(&container.name)), true))
    });
    let used: BTreeSet<Ctid> = graph
        .containers()
        .filter_map(|ctid| desired.containers.get(&ctid))
        .flat_map(|container| container.externals.iter().copied())
        .collect();
    let externals = used.into_iter().map(|ctid| {
        let name = desired.externals.get(&ctid).map_or("", String::as_str);
        (
            ctid,
            format!("{ctid} {}", one_line(name)).trim_end().to_owned(),
            false,
        )
    });
    managed.chain(externals).collect()
}

/// For Graphviz: `phoenix graph | dot -Tsvg`. A solid line is a clone, a dashed one a dependency;
/// guests that phoenix does not manage are dotted.
#[must_use]
pub fn dot(desired: &DesiredState, graph: &Graph) -> String {
    let mut text = "digraph phoenix {\n  rankdir=LR;\n  node [shape=box];\n".to_owned();
    for (ctid, label, managed) in nodes(desired, graph) {
        let label = label.replace('\\', "\\\\").replace('"', "\\\"");
        let style = if managed { "" } else { ", style=dotted" };
        let _ = writeln!(text, "  \"{ctid}\" [label=\"{label}\"{style}];");
    }
    for (from, to, clone) in edges(desired, graph) {
        let style = if clone { "" } else { " [style=dashed]" };
        let _ = writeln!(text, "  \"{from}\" -> \"{to}\"{style};");
    }
    text.push_str("}\n");
    text
}

/// For scripts.
#[must_use]
pub fn json(desired: &DesiredState, graph: &Graph) -> Value {
    let containers = graph
        .containers()
        .filter_map(|ctid| desired.containers.get(&ctid));
    let containers = containers.map(|container| {
        let source = container.clone_source();
        json!({
            "ctid": container.ctid,
            "name": container.name,
            "needs": container.needs().collect::<BTreeSet<_>>(),
            "clone_of": source,
            "externals": container.externals,
        })
    });
    json!({ "containers": containers.collect::<Vec<_>>() })
}

/// For Mermaid, with the same meaning.
#[must_use]
pub fn mermaid(desired: &DesiredState, graph: &Graph) -> String {
    let mut text = "flowchart LR\n".to_owned();
    for (ctid, label, managed) in nodes(desired, graph) {
        let label = label.replace('"', "#quot;");
        let (open, close) = if managed { ("[", "]") } else { ("([", "])") };
        let _ = writeln!(text, "  c{ctid}{open}\"{label}\"{close}");
    }
    for (from, to, clone) in edges(desired, graph) {
        let arrow = if clone { "-->" } else { "-.->" };
        let _ = writeln!(text, "  c{from} {arrow} c{to}");
    }
    text
}

#[cfg(test)]
pub(super) mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::domain::desired::{DesiredContainer, OnUnknown, Origin, Template};
    use crate::domain::secret::Secret;
    use crate::domain::units::DiskSize;
    use crate::report::describe::tests::ctid;

    pub(in crate::report) fn declared(number: u32, name: &str) -> DesiredContainer {
        DesiredContainer {
            ctid: ctid(number),
            name: name.to_owned(),
            origin: Origin::Template(Template {
                file: "debian.tar".to_owned(),
                storage: None,
            }),
            node: None,
            storage: "fast".to_owned(),
            disk: DiskSize::gib(8),
            unprivileged: true,
            settings: Default::default(),
            gpus: BTreeSet::new(),
            binds: Vec::new(),
            volumes: Vec::new(),
            features: Vec::new(),
            application: None,
            health: None,
            snapshot: None,
            dependencies: BTreeSet::new(),
            externals: BTreeSet::new(),
            boot_order: None,
            unmanaged: Vec::new(),
            on_unknown: OnUnknown::Retry,
            document: Secret::default(),
        }
    }

    fn world() -> DesiredState {
        let base = declared(900, "base \"x\"");
        let mut clone = declared(901, "web");
        clone.origin = Origin::Clone {
            source: ctid(900),
            snapshot: "ready".to_owned(),
        };
        clone.externals.insert(ctid(500));
        let mut after = declared(902, "db");
        after.dependencies.insert(ctid(901));
        let mut desired = DesiredState::default();
        desired.externals.insert(ctid(500), "vm".to_owned());
        for container in [base, clone, after] {
            desired
                .containers
                .insert(container.ctid, Arc::new(container));
        }
        desired
    }

    #[test]
    fn both_pictures_show_clones_dependencies_and_strangers() {
        let desired = world();
        let graph = Graph::of(&desired, &[]).expect("a graph");
        let expected = "digraph phoenix {\n  rankdir=LR;\n  node [shape=box];\n  \
             \"900\" [label=\"900 base \\\"x\\\"\"];\n  \"901\" [label=\"901 web\"];\n  \
             \"902\" [label=\"902 db\"];\n  \"500\" [label=\"500 vm\", style=dotted];\n  \
             \"500\" -> \"901\" [style=dashed];\n  \"900\" -> \"901\";\n  \
             \"901\" -> \"902\" [style=dashed];\n}\n";
        assert_eq!(dot(&desired, &graph), expected);
        let expected = "flowchart LR\n  c900[\"900 base #quot;x#quot;\"]\n  c901[\"901 web\"]\n  \
             c902[\"902 db\"]\n  c500([\"500 vm\"])\n  c500 -.-> c901\n  c900 --> c901\n  \
             c901 -.-> c902\n";
        assert_eq!(mermaid(&desired, &graph), expected);
    }

    #[test]
    fn names_cannot_steer_the_terminal_or_add_lines() {
        let mut desired = world();
        let evil = declared(903, "x\x1b[2J\ny");
        desired.containers.insert(evil.ctid, Arc::new(evil));
        desired
            .externals
            .insert(ctid(500), "v\x1b[2J\nm".to_owned());
        let graph = Graph::of(&desired, &[]).expect("a graph");
        for picture in [dot(&desired, &graph), mermaid(&desired, &graph)] {
            assert!(
                picture.contains("903 x y") && picture.contains("500 v m"),
                "{picture}"
            );
            assert!(!picture.contains('\x1b'), "{picture}");
        }
    }

    #[test]
    fn a_selection_shows_only_what_it_needs() {
        let desired = world();
        let graph = Graph::of(&desired, &[ctid(900)]).expect("a graph");
        assert!(!dot(&desired, &graph).contains("901"));
        assert!(!dot(&desired, &graph).contains("500"));
    }
}
