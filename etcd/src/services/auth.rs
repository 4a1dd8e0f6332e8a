//! `etcdserverpb.Auth`.

use tonic::{Request, Response, Status};

use super::etcd::Etcd;
use crate::store::Store;
use crate::wire::etcdserverpb::auth_server::Auth;
use crate::wire::etcdserverpb::{AuthenticateRequest, AuthenticateResponse};

#[tonic::async_trait]
impl<S: Store> Auth for Etcd<S> {
    async fn authenticate(
        &self,
        request: Request<AuthenticateRequest>,
    ) -> Result<Response<AuthenticateResponse>, Status> {
        let AuthenticateRequest { name, password } = request.into_inner();
        let token = self.users.log_in(&name, &password)?;
        Ok(Response::new(AuthenticateResponse {
            header: self.header(),
            token,
        }))
    }
}
