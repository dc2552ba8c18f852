//! Whether a pipeline does its work, component by component.

use std::collections::BTreeMap;

use serde::Serialize;

/// How a component of a pipeline is. A reason says what is wrong and what to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "state", content = "reason", rename_all = "lowercase")]
pub enum Health {
    /// It has not begun its work yet.
    Starting,
    /// It does its work.
    Ok,
    /// It does not, and tries to.
    Degraded(String),
    /// It does not, and will not.
    Failed(String),
}

/// Whether everything does its work: the body of `/health/ready`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Readiness {
    /// True if every pipeline is ready and the process is not about to end.
    pub ready: bool,
    /// True once the process has been asked to end.
    pub stopping: bool,
    /// By name.
    pub pipelines: BTreeMap<String, PipelineReadiness>,
}

/// Whether one pipeline does its work.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PipelineReadiness {
    /// True if there are components and every one is [`Health::Ok`].
    pub ready: bool,
    /// By name.
    pub components: BTreeMap<String, Health>,
}

/// The health of one pipeline's components.
#[derive(Debug, Default)]
pub(super) struct Board {
    components: BTreeMap<String, Component>,
}

#[derive(Debug)]
struct Component {
    health: Health,
    /// The trouble that was told last and has not been told to be over.
    told: Option<String>,
}

/// What a report changes and nobody has been told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum News {
    Trouble,
    Recovery,
}

impl Board {
    /// Takes a report. A trouble is news once, until the component recovers; that another component has the
    /// same trouble is none. A component that starts again has not recovered yet.
    pub(super) fn report(&mut self, component: &str, health: Health) -> Option<News> {
        let known_elsewhere = |reason: &String| {
            self.components.values().any(|component| component.told.as_ref() == Some(reason))
        };
        let (news, told) = match &health {
            Health::Degraded(reason) | Health::Failed(reason) => {
                ((!known_elsewhere(reason)).then_some(News::Trouble), Some(Some(reason.clone())))
            }
            Health::Ok => (Some(News::Recovery), Some(None)),
            Health::Starting => (None, None),
        };
        let entry = self
            .components
            .entry(component.to_owned())
            .or_insert(Component { health: Health::Starting, told: None });
        let was_told = entry.told.is_some();
        entry.health = health;
        if let Some(told) = told {
            entry.told = told;
        }
        news.filter(|news| *news == News::Trouble || was_told)
    }

    pub(super) fn readiness(&self) -> PipelineReadiness {
        let healths =
            self.components.iter().map(|(name, component)| (name.clone(), component.health.clone()));
        let components: BTreeMap<_, _> = healths.collect();
        let ready = !components.is_empty() && components.values().all(|health| *health == Health::Ok);
        PipelineReadiness { ready, components }
    }

    /// The components start again, all but `survivor`; what was told of them stays told.
    pub(super) fn restart(&mut self, survivor: &str) {
        for (_, component) in self.components.iter_mut().filter(|(name, _)| *name != survivor) {
            component.health = Health::Starting;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn away() -> Health {
        Health::Degraded("the broker is away".to_owned())
    }

    #[test]
    fn a_trouble_is_told_once_and_so_is_its_end() {
        let mut board = Board::default();
        assert_eq!(board.report("source", Health::Starting), None);
        assert_eq!(board.report("source", Health::Ok), None, "nothing was wrong");
        assert_eq!(board.report("source", away()), Some(News::Trouble));
        assert_eq!(board.report("source", away()), None);
        assert_eq!(board.report("source", Health::Starting), None);
        assert_eq!(board.report("source", away()), None, "trying again is no recovery");
        let other = Health::Failed("access is denied".to_owned());
        assert_eq!(board.report("source", other), Some(News::Trouble));
        assert_eq!(board.report("source", Health::Ok), Some(News::Recovery));
        assert_eq!(board.report("source", Health::Ok), None);
        assert_eq!(board.report("source", away()), Some(News::Trouble));
        assert_eq!(board.report("sink", away()), None, "the same trouble");
    }

    #[test]
    fn ready_is_when_every_component_is() {
        let mut board = Board::default();
        assert!(!board.readiness().ready, "nothing runs yet");
        board.report("source", Health::Ok);
        assert!(board.readiness().ready);
        for health in [Health::Starting, away(), Health::Failed("x".to_owned())] {
            board.report("sink", health);
            assert!(!board.readiness().ready);
        }
        board.report("sink", Health::Ok);
        assert!(board.readiness().ready);
        board.restart("source");
        let components = board.readiness().components;
        assert_eq!((&components["source"], &components["sink"]), (&Health::Ok, &Health::Starting));
    }

    #[test]
    fn the_body_names_components_and_reasons() {
        let mut board = Board::default();
        board.report("source", away());
        board.report("sink", Health::Ok);
        assert_eq!(
            serde_json::to_value(board.readiness()).unwrap(),
            serde_json::json!({"ready": false, "components": {
                "source": {"state": "degraded", "reason": "the broker is away"},
                "sink": {"state": "ok"},
            }})
        );
    }
}
