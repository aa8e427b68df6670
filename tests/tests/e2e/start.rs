//! How a function starts, and how it says why it does not.

use std::sync::Arc;

use freshjoin_core::ports::Precondition;
use freshjoin_local::mapping::MappingSettings;
use freshjoin_local::runtime_api::Environment;

use crate::trials;
use crate::world::{DISHES, Servers, World};

trials!("start":
    a_missing_or_wrong_variable_is_named,
    a_wrong_definition_is_refused_with_its_mend,
    a_definition_may_be_text_a_file_or_an_object,
);

/// Starts it and waits for its end; everything that it wrote.
async fn last_words(world: &World, binary: &str, variables: Vec<(String, String)>) -> String {
    let log = world.log(binary);
    drop(std::fs::remove_file(&log));
    let environment: Arc<Environment> = world.function_with(binary, variables).await;
    while environment.is_running().await {
        world.clock.sleep(std::time::Duration::from_millis(10)).await;
    }
    let report = environment.init_error().await.unwrap_or_default();
    std::fs::read_to_string(&log).unwrap() + &report
}

async fn a_missing_or_wrong_variable_is_named(servers: Arc<Servers>) {
    let world = World::new(&servers).await;
    for (binary, variable, value) in [
        ("change-capture", "FRESHJOIN_STATE", None),
        ("change-capture", "FRESHJOIN_STATE", Some("bucket/prefix")),
        ("change-capture", "FRESHJOIN_DIRECT_FLAGS", Some("perhaps")),
        ("flag-injector", "FRESHJOIN_STREAM", None),
        ("flag-injector", "FRESHJOIN_STATE", None),
        ("enricher", "FRESHJOIN_PIPELINE", None),
        ("enricher", "FRESHJOIN_OUTPUT", None),
        ("enricher", "FRESHJOIN_STREAM", Some("")),
        ("enricher", "FRESHJOIN_AS_OF", Some("yesterday")),
    ] {
        let mut variables = world.variables();
        variables.retain(|(name, _)| name != variable);
        variables.extend(value.map(|value| (variable.to_owned(), value.to_owned())));
        let words = last_words(&world, binary, variables).await;
        assert!(words.contains(variable), "{binary} without {variable} ({value:?}) said: {words}");
    }
}

async fn a_wrong_definition_is_refused_with_its_mend(servers: Arc<Servers>) {
    let mut world = World::new(&servers).await;
    let good = world.deployment.pipeline.clone();
    for (from, to, word) in [
        ("join     =", "jion     =", "jion"),
        ("\"left\"", "\"outer\"", "outer"),
        ("format       = \"csv\"", "format       = \"xml\"", "xml"),
        ("name = \"orders\"", "", "name"),
        ("name = \"orders\"", "name = \"../orders\"", "name"),
        ("dynamodb = \"TABLE\"", "s3 = \"s3://BUCKET/state/reference/p.jsonl\"", "FRESHJOIN_STATE"),
        ("dynamodb = \"TABLE\"", "s3 = \"s3://BUCKET/reference/p.txt\"", ".jsonl"),
    ] {
        let from = from.replace("TABLE", world.table.name());
        let to = to.replace("BUCKET", &world.bucket);
        world.deployment.pipeline = good.replace(&from, &to);
        assert_ne!(world.deployment.pipeline, good, "{from}");
        let words = last_words(&world, "enricher", world.variables()).await;
        assert!(words.contains(word), "{to} said: {words}");
    }
}

async fn a_definition_may_be_text_a_file_or_an_object(servers: Arc<Servers>) {
    let mut world = World::new(&servers).await;
    let text = world.deployment.pipeline.clone();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("orders.toml");
    std::fs::write(&file, &text).unwrap();
    let object = world.open(&format!("s3://{}", world.bucket));
    drop(object.put("definitions/orders.toml", text.clone().into(), Precondition::None).await.unwrap());
    let (mapping, _) = world.mapping(&[], MappingSettings::default());
    for definition in [text, file.to_str().unwrap().into(), format!("s3://{}/definitions/orders.toml", world.bucket)] {
        world.deployment.pipeline = definition;
        mapping.deploy(vec![world.function("enricher").await]);
        world.order(20, &DISHES).await;
        mapping.drain().await.unwrap();
    }
    world.verify().await;
}
