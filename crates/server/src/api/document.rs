//! The head of the `OpenAPI` document. Its addresses and types come from the handlers.

use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityScheme};
use utoipa::{Modify, OpenApi};

/// The head of the document.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "Legwork",
        description = "Tasks, runners and tokens. Times are RFC 3339 texts, durations texts such as 30s. \
                       Every refusal is `{\"error\": {\"code\", \"message\", \"field\", \"request_id\"}}`.",
    ),
    tags(
        (name = "tasks", description = "What is to be done, and what became of it."),
        (name = "runners", description = "Who does it."),
        (name = "tokens", description = "Personal access tokens."),
        (name = "server", description = "The server itself."),
    ),
    security(("token" = []), ("password" = [])),
    modifiers(&Credentials),
)]
pub(crate) struct ApiDoc;

struct Credentials;

impl Modify for Credentials {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let components = document.components.get_or_insert_with(Default::default);
        components.add_security_scheme("token", SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer)));
        components.add_security_scheme("password", SecurityScheme::Http(Http::new(HttpAuthScheme::Basic)));
    }
}
