//! The states a worker goes through. Pure: what may follow what, and what each state answers.

use protocol::error::ErrorCode;
use protocol::worker::{LoadingProgress, WorkerState};

/// Where a worker stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Phase {
    /// The model is being loaded.
    Loading { blocks_loaded: u64, blocks_total: u64, bytes_loaded: u64 },
    /// Requests are served.
    Ready,
    /// Finishing what it has.
    Draining,
    /// It will not serve (again).
    Failed { code: ErrorCode, message: String },
}

impl Phase {
    /// Whether `next` may follow. A worker that drains or failed never goes back.
    pub(crate) fn may_become(&self, next: &Phase) -> bool {
        match (self, next) {
            (Phase::Loading { .. }, _) => true,
            (Phase::Ready, Phase::Draining | Phase::Failed { .. }) | (Phase::Draining, Phase::Failed { .. }) => true,
            (Phase::Ready, Phase::Loading { .. } | Phase::Ready)
            | (Phase::Draining, Phase::Loading { .. } | Phase::Ready | Phase::Draining)
            | (Phase::Failed { .. }, _) => false,
        }
    }

    /// What `/v1/ready` says; `busy` is whether a slot is taken.
    pub(crate) fn worker_state(&self, busy: bool) -> WorkerState {
        match self {
            Phase::Loading { .. } => WorkerState::Loading,
            Phase::Ready if busy => WorkerState::Busy,
            Phase::Ready => WorkerState::Idle,
            Phase::Draining => WorkerState::Draining,
            Phase::Failed { .. } => WorkerState::Error,
        }
    }

    /// What `/v1/loading/progress` says.
    pub(crate) fn progress(&self) -> LoadingProgress {
        match self {
            Phase::Loading { blocks_loaded, blocks_total, bytes_loaded } => LoadingProgress::LoadingToVram {
                layers_loaded: *blocks_loaded,
                layers_total: *blocks_total,
                vram_mb: bytes_loaded >> 20,
            },
            Phase::Ready | Phase::Draining => LoadingProgress::Ready,
            Phase::Failed { code, message } => LoadingProgress::Error { code: *code, message: message.clone() },
        }
    }
}

#[cfg(test)]
mod tests {
    use protocol::error::ErrorCode;

    use super::Phase;

    #[test]
    fn nothing_leads_back() {
        let loading = Phase::Loading { blocks_loaded: 0, blocks_total: 2, bytes_loaded: 0 };
        let failed = Phase::Failed { code: ErrorCode::Internal, message: String::new() };
        assert!(loading.may_become(&Phase::Ready) && loading.may_become(&failed) && loading.may_become(&loading));
        assert!(Phase::Ready.may_become(&Phase::Draining) && !Phase::Ready.may_become(&loading));
        assert!(!Phase::Draining.may_become(&Phase::Ready) && Phase::Draining.may_become(&failed));
        assert!(!failed.may_become(&Phase::Ready) && !failed.may_become(&Phase::Draining));
    }
}
