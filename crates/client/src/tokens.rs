//! Personal access tokens.

use legwork_core::TokenId;
use legwork_protocol::api::{CreateToken, CreatedToken, Token};
use reqwest::Method;

use crate::connection::Client;
use crate::error::ClientError;

impl Client {
    /// Makes a token. The answer is the only place that ever shows its text.
    pub async fn create_token(&self, token: &CreateToken) -> Result<CreatedToken, ClientError> {
        self.send_for(self.request(Method::POST, "personal-access-tokens").json(token)).await
    }

    /// The tokens that we may see.
    pub async fn tokens(&self) -> Result<Vec<Token>, ClientError> {
        self.get("personal-access-tokens").await
    }

    /// Revokes a token.
    pub async fn revoke_token(&self, token: TokenId) -> Result<(), ClientError> {
        self.act(Method::DELETE, &format!("personal-access-tokens/{token}"), None::<&()>).await
    }
}
