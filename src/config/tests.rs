use super::*;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn every_shipped_pipeline_is_valid() {
    let files = std::fs::read_dir(root().join("pipelines")).unwrap().map(|entry| entry.unwrap().path());
    let pipelines: Vec<_> = files.filter(|path| path.extension().is_some_and(|end| end == "toml")).collect();
    assert!(!pipelines.is_empty());
    for path in pipelines {
        PipelineConfig::load(&path).unwrap();
    }
}
