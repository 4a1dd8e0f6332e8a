//! Who answers: the one member of a cluster of one.

/// What this server says of itself. Start from [`Identity::default`].
///
/// Clients that find another `cluster_id` than before take it for another store, so a store
/// should choose one when it is made, and keep it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Identity {
    /// In every header. Default: 1.
    pub cluster_id: u64,
    /// In every header. Default: 1.
    pub member_id: u64,
    /// In every header. Default: 1.
    pub raft_term: u64,
    /// The member's name. Default: `kvwatch`.
    pub name: String,
    /// Where clients reach it, such as `http://127.0.0.1:2379`. Default: none.
    pub client_urls: Vec<String>,
    /// The version of etcd that clients may take this for: some ask, to learn what they can rely
    /// on. Default: `3.5.13`, from which on progress is never reported ahead of events.
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
