//! `etcdserverpb.Cluster`.

use tonic::{Request, Response, Status};

use super::etcd::Etcd;
use crate::store::Store;
use crate::wire::etcdserverpb::cluster_server::Cluster;
use crate::wire::etcdserverpb::{Member, MemberListRequest, MemberListResponse};

#[tonic::async_trait]
impl<S: Store> Cluster for Etcd<S> {
    async fn member_list(
        &self,
        request: Request<MemberListRequest>,
    ) -> Result<Response<MemberListResponse>, Status> {
        self.caller(request.metadata())?;
        let identity = &self.identity;
        let member = Member {
            id: identity.member_id,
            name: identity.name.clone(),
            peer_ur_ls: Vec::new(),
            client_ur_ls: identity.client_urls.clone(),
            is_learner: false,
        };
        Ok(Response::new(MemberListResponse {
            header: self.header(),
            members: vec![member],
        }))
    }
}
