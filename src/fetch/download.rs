//! A large body that goes on where it broke (RFC 9110 section 14: `Range`, 206, 416), or is asked for from its start again
//! where the other side gives no parts.

use super::client::Client;
use super::error::{FetchError, FetchErrorKind};
use super::retry::Backoff;
use super::send::broken;
use super::wire::shown;
use bytes::{Buf, Bytes};
use reqwest::header::{ACCEPT_ENCODING, CONTENT_RANGE, HeaderMap, HeaderValue, RANGE};
use reqwest::{Response, Url};

/// What is asked for of a body.
#[derive(Debug, Clone, Copy)]
pub struct Span {
    /// Bytes from the body's start that are there already.
    pub from: u64,
    /// Bytes of the whole body.
    pub size: u64,
    /// Whether a part may be asked for with `Range`; else what is there is passed over in the whole body.
    pub ranges: bool,
}

/// A body under way. Dropping it ends the transfer.
pub struct Download {
    client: Client,
    target: String,
    scope: String,
    url: Url,
    size: u64,
    at: u64,
    /// Bytes of the answer to pass over: the server began earlier than it was asked to.
    skip: u64,
    response: Option<Response>,
    /// The other side gives parts, as far as is known.
    ranges: bool,
    /// A part came, and what was there before it stayed.
    pieced: bool,
    backoff: Backoff,
}

impl Client {
    /// Begins to download this span of `target`.
    ///
    /// The first answer is waited for, so that a 404 is an error here ([`FetchError::Status`]).
    pub async fn download(
        &self,
        target: &str,
        scope: &str,
        span: Span,
    ) -> Result<Download, FetchError> {
        let url = self.asking(target).await?.url;
        let mut download = Download {
            client: self.clone(),
            target: target.to_owned(),
            scope: scope.to_owned(),
            url,
            size: span.size,
            at: span.from,
            skip: 0,
            response: None,
            ranges: span.ranges,
            pieced: false,
            backoff: self.inner.backoff(None),
        };
        if span.from < span.size {
            download.open().await?;
        }
        Ok(download)
    }
}

impl Download {
    /// Bytes from the body's start that have been handed out or were there before.
    pub fn offset(&self) -> u64 {
        self.at
    }

    /// Whether a part was put behind what was there: if the whole is wrong, the fault may lie between the two.
    pub fn is_pieced(&self) -> bool {
        self.pieced
    }

    /// The next bytes; `None` at the end, which is at `size` and nowhere else. A body that breaks is asked for again from
    /// where it broke, as often as the options say without a byte between.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, FetchError> {
        loop {
            if self.at >= self.size {
                return self.end().await;
            }
            let Some(response) = &mut self.response else {
                self.open().await?;
                continue;
            };
            let why = match response.chunk().await {
                Ok(Some(piece)) => match self.take(piece)? {
                    Some(piece) => return Ok(Some(piece)),
                    None => continue,
                },
                Ok(None) => format!("the answer ended after {} of {} bytes", self.at, self.size),
                Err(error) => broken(&error),
            };
            self.response = None;
            let error = FetchError::Body {
                url: shown(&self.url),
                why,
            };
            let inner = self.client.inner.clone();
            inner.pause(&mut self.backoff, error, None).await?;
        }
    }

    fn take(&mut self, mut piece: Bytes) -> Result<Option<Bytes>, FetchError> {
        let over = self.skip.min(piece.len() as u64);
        piece.advance(over as usize);
        self.skip -= over;
        if piece.is_empty() {
            return Ok(None);
        }
        self.at += piece.len() as u64;
        if self.at > self.size {
            return Err(self.too_large());
        }
        self.backoff.reset();
        Ok(Some(piece))
    }

    async fn end(&mut self) -> Result<Option<Bytes>, FetchError> {
        if let Some(mut response) = self.response.take() {
            // What breaks here does not matter: all bytes are there, and their digest decides.
            while let Ok(Some(piece)) = response.chunk().await {
                if !piece.is_empty() {
                    return Err(self.too_large());
                }
            }
        }
        Ok(None)
    }

    fn too_large(&self) -> FetchError {
        FetchError::TooLarge {
            url: shown(&self.url),
            limit: self.size,
        }
    }

    /// Asks for the rest; where a part is refused in whatever way, once for everything.
    async fn open(&mut self) -> Result<(), FetchError> {
        if self.at > 0 && self.ranges {
            match self.open_part().await {
                Ok(true) => return Ok(()),
                Ok(false) => {}
                Err(error) if error.kind() == FetchErrorKind::Usage => return Err(error),
                Err(error) => tracing::debug!(url = %shown(&self.url), %error, "no part is given"),
            }
            self.ranges = false;
        }
        let response = self.ask(None).await?;
        match response.status().as_u16() {
            // Some call the whole a part.
            200 => {}
            206 if part(response.headers(), self.size).is_none_or(|first| first == 0) => {}
            206 => return Err(self.bad("a part came that was not asked for")),
            _ => return Err(self.refused(response).await),
        }
        self.skip = self.at;
        self.response = Some(response);
        Ok(())
    }

    /// Asks for the rest alone; `false`: what came is no part that fits.
    async fn open_part(&mut self) -> Result<bool, FetchError> {
        let response = self.ask(Some(self.at)).await?;
        let begins = match response.status().as_u16() {
            // Everything came, and what is here of it is passed over; unless its length says that it is something else.
            200 if response.content_length().is_none_or(|n| n == self.size) => Some(0),
            206 => part(response.headers(), self.size).filter(|first| *first <= self.at),
            _ => None,
        };
        let Some(begins) = begins else {
            return Ok(false);
        };
        self.pieced |= begins > 0;
        self.skip = self.at - begins;
        self.response = Some(response);
        Ok(true)
    }

    async fn ask(&self, from: Option<u64>) -> Result<Response, FetchError> {
        let mut asking = self.client.asking(&self.target).await?;
        asking
            .headers
            .insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        if let Some(from) = from {
            let range = HeaderValue::from_str(&format!("bytes={from}-"));
            let range = range.map_err(|e| FetchError::Options(e.to_string()))?;
            asking.headers.insert(RANGE, range);
        }
        self.client.authorized(asking, &self.scope).await
    }

    fn bad(&self, why: &str) -> FetchError {
        FetchError::Body {
            url: shown(&self.url),
            why: why.to_owned(),
        }
    }

    async fn refused(&self, response: Response) -> FetchError {
        match self.client.inner.read(response, 64 * 1024).await {
            Ok(reply) => FetchError::Status {
                url: shown(&self.url),
                status: reply.status,
                detail: reply.detail(),
            },
            Err(error) => error,
        }
    }
}

/// The first byte of the part that came, by its `Content-Range: bytes FIRST-LAST/TOTAL`; `None` if that does not say, or
/// says what cannot be of a body of `size` bytes.
fn part(headers: &HeaderMap, size: u64) -> Option<u64> {
    first_byte(headers.get(CONTENT_RANGE)?.to_str().ok()?, size)
}

fn first_byte(header: &str, size: u64) -> Option<u64> {
    let (unit, rest) = header.trim().split_once([' ', '='])?;
    let (range, total) = rest.trim().split_once('/')?;
    let (first, last) = range.split_once('-')?;
    let number = |text: &str| text.trim().parse::<u64>().ok();
    let (first, last, total) = (number(first)?, number(last)?, total.trim());
    let fits = unit.eq_ignore_ascii_case("bytes")
        && first <= last
        && last < size
        && (total == "*" || number(total) == Some(size));
    fits.then_some(first)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn which_part_came() {
        for (header, first) in [
            ("bytes 4-9/10", Some(4)),
            ("Bytes 4-9/*", Some(4)),
            (" bytes=0-9/10 ", Some(0)),
            ("bytes 4-10/10", None),
            ("bytes 5-4/10", None),
            ("bytes 4-9/11", None),
            ("bytes */10", None),
            ("bytes 4-9", None),
            ("octets 4-9/10", None),
            ("bytes -9/10", None),
            ("", None),
        ] {
            assert_eq!(first_byte(header, 10), first, "{header}");
        }
    }
}
