//! Dashboards and rules, asked of a real Prometheus: every query has an answer while the node works,
//! and what is wrong with a node comes out of a real Alertmanager.

mod absent;
mod alerts;
mod servers;
mod sources;
mod world;

use std::time::Instant;

use self::{
    absent::ABSENT,
    servers::Prometheus,
    sources::{Query, of_dashboards, of_rules},
    world::World,
};
use crate::poll::PATIENCE;

/// Jobs of Prometheus, as they are configured.
const JOB: &str = "stratoswarm";

#[test]
fn every_query_has_an_answer() {
    let mut world = World::start();
    let prometheus = Prometheus::start(&[(JOB, &world.agent.address, "")], None);
    let queries = [of_dashboards(), of_rules()].concat();
    let (absent, present): (Vec<Query>, Vec<Query>) =
        queries.into_iter().partition(Query::may_be_absent);
    let waiting = wait_for_answers(present, &mut world, &prometheus);
    assert!(waiting.is_empty(), "no data: {waiting:#?}");
    let answered: Vec<&Query> = absent
        .iter()
        .filter(|query| prometheus.has_data(query))
        .collect();
    assert!(
        answered.is_empty(),
        "take out of the list of those without data: {answered:#?}"
    );
    for (name, why, _) in ABSENT.iter().filter(|(.., lacks)| lacks()) {
        let used = absent.iter().any(|query| query.expression.contains(name));
        assert!(
            used,
            "nothing asks for {name} ({why}): take it out of the list"
        );
    }
    prometheus.expect_healthy_rules();
}

/// Has the node work until every query has had an answer, and gives those that never had.
fn wait_for_answers(queries: Vec<Query>, world: &mut World, prometheus: &Prometheus) -> Vec<Query> {
    // What is allocated is looked for now and then only, on a busy machine once a minute.
    let deadline = Instant::now() + 2 * PATIENCE;
    let mut waiting = queries;
    while !waiting.is_empty() && Instant::now() < deadline {
        world.work();
        waiting.retain(|query| !prometheus.has_data(query));
    }
    waiting
}
