//! The description of REST in `OpenAPI` 3.1, made from the table of operations.

use super::ROOT;
use crate::app::ops::{self, Declared, Reach, Schemas, Verb};
use bytes::Bytes;
use std::sync::OnceLock;
use utoipa::openapi::path::{OperationBuilder, Parameter, ParameterBuilder, ParameterIn, PathItem};
use utoipa::openapi::request_body::RequestBodyBuilder;
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{
    ComponentsBuilder, ContentBuilder, HttpMethod, InfoBuilder, ObjectBuilder, OpenApi,
    OpenApiBuilder, PathsBuilder, RefOr, Required, ResponseBuilder, ResponsesBuilder, Schema,
    SchemaFormat, Type,
};

/// How the log-in is called in the document.
const LOGIN: &str = "password";

/// The document; made once.
pub fn text() -> Bytes {
    static TEXT: OnceLock<Bytes> = OnceLock::new();
    let made = || Bytes::from(serde_json::to_vec(&document()).unwrap_or_default());
    TEXT.get_or_init(made).clone()
}

fn document() -> OpenApi {
    let mut paths = PathsBuilder::new();
    let mut components = ComponentsBuilder::new()
        .schema("Problem", problem())
        .security_scheme(
            LOGIN,
            SecurityScheme::Http(Http::new(HttpAuthScheme::Basic)),
        );
    for row in ops::ALL.iter().filter(|row| row.spec().reach == Reach::All) {
        let spec = row.spec();
        let item = PathItem::new(http_method(spec.verb), operation(row));
        paths = paths.path(format!("{ROOT}{}", spec.path), item);
        for (name, schema) in [row.input().named, row.reply().named].concat() {
            components = components.schema(name, schema);
        }
    }
    let info = InfoBuilder::new()
        .title("Dryport")
        .version(env!("CARGO_PKG_VERSION"))
        .description(Some("Operations of a Dryport registry. Names that hold a slash stand in the query or in the body. Slow operations answer 202 with a job."));
    OpenApiBuilder::new()
        .info(info)
        .paths(paths)
        .components(Some(components.build()))
        .security(Some([SecurityRequirement::new(
            LOGIN,
            Vec::<String>::new(),
        )]))
        .build()
}

fn http_method(verb: Verb) -> HttpMethod {
    match verb {
        Verb::Read => HttpMethod::Get,
        Verb::Make => HttpMethod::Post,
        Verb::Set => HttpMethod::Put,
        Verb::Remove => HttpMethod::Delete,
    }
}

fn operation(row: &Declared) -> OperationBuilder {
    let spec = row.spec();
    let noun = spec.name.split('-').next().unwrap_or_default();
    let done = |text| {
        ResponseBuilder::new()
            .description(text)
            .content("application/json", content(row.reply().own))
    };
    let refused = ResponseBuilder::new().description("Refused").content(
        "application/problem+json",
        content(RefOr::Ref(utoipa::openapi::Ref::from_schema_name(
            "Problem",
        ))),
    );
    let mut responses = ResponsesBuilder::new()
        .response("200", done("Done"))
        .response("default", refused);
    if spec.slow {
        responses = responses.response("202", done("Left to a job"));
    }
    let operation = OperationBuilder::new()
        .operation_id(Some(spec.name))
        .summary(Some(spec.about))
        .description(Some(format!("Needs the right {}.", spec.action.name())))
        .tag(noun)
        .responses(responses);
    match spec.verb {
        Verb::Read | Verb::Remove => operation.parameters(Some(parameters(row.input()))),
        Verb::Make | Verb::Set => {
            let body = RequestBodyBuilder::new()
                .content("application/json", content(row.input().own))
                .required(Some(Required::True))
                .build();
            operation.request_body(Some(body))
        }
    }
}

fn content(schema: RefOr<Schema>) -> utoipa::openapi::Content {
    ContentBuilder::new().schema(Some(schema)).build()
}

/// The fields of an input as parameters of the query.
fn parameters(input: Schemas) -> Vec<Parameter> {
    let RefOr::T(Schema::Object(object)) = input.own else {
        return Vec::new();
    };
    let required = object.required;
    let fields = object.properties.into_iter().map(|(name, schema)| {
        let needed = if required.contains(&name) {
            Required::True
        } else {
            Required::False
        };
        ParameterBuilder::new()
            .name(name)
            .parameter_in(ParameterIn::Query)
            .required(needed)
            .schema(Some(schema))
            .build()
    });
    fields.collect()
}

/// A refusal, as RFC 9457 has it, with our own kind and the request's id.
fn problem() -> ObjectBuilder {
    let text = || ObjectBuilder::new().schema_type(Type::String);
    let status = ObjectBuilder::new()
        .schema_type(Type::Integer)
        .format(Some(SchemaFormat::Custom("int32".into())));
    ObjectBuilder::new()
        .schema_type(Type::Object)
        .description(Some("Why a request was refused (RFC 9457)"))
        .property("type", text())
        .property("title", text())
        .property("status", status)
        .property("detail", text())
        .property("kind", text())
        .property("request", text())
}
