/** Where NATS is, and how it lets us in. */

/** Paths are of files. */
export interface NatsOptions {
  /** `nats://HOST:PORT`, several with commas between; `tls://` insists on TLS; `nats://USER:PASSWORD@HOST:PORT` and `nats://TOKEN@HOST:PORT` work too. */
  url: string
  user?: string
  password?: string
  token?: string
  /** Credentials: a JWT and its key (`nsc generate creds`). */
  creds?: string
  /** The seed of an nkey. */
  nkey?: string
  /** The authority that signed the server's certificate, and a certificate and its key of one's own: PEM. */
  tlsCa?: string
  tlsCert?: string
  tlsKey?: string
}

/** Why NATS cannot be used, in a sentence. */
export class NatsError extends Error {
  readonly code = 'ERR_NATS'
}
