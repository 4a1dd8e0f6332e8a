//! How the server names itself: as the only member of a cluster.

/// How the server names itself to clients. Start from [`Identity::default`] and override fields.
///
/// A client that sees another `cluster_id` than before takes the server for another store. So a
/// store should choose an id when it is created, and keep it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Identity {
    /// The cluster's id, in every response's header. Default: 1.
    pub cluster_id: u64,
    /// The member's id, in every response's header. Default: 1.
    pub member_id: u64,
    /// The Raft term, in every response's header. Default: 1.
    pub raft_term: u64,
    /// The member's name. Default: `kvwatch`.
    pub name: String,
    /// URLs at which clients reach the server, such as `http://127.0.0.1:2379`. Default: none.
    pub client_urls: Vec<String>,
    /// The version of etcd to report. Some clients decide by it which behaviour they can rely on.
    /// Default: `3.5.13`, the first version that never reports progress ahead of events.
    pub version: String,
}

impl Default for Identity {
    fn default() -> Self {
        Self {
            cluster_id: 1,
            member_id: 1,
            raft_term: 1,
            name: "kvwatch".to_owned(),
            client_urls: Vec::new(),
            version: "3.5.13".to_owned(),
        }
    }
}
