/** Options of the NATS connection. */
import { LabError } from '../../../units/errors.js'

/** Where NATS is and how to authenticate. Without credentials, the connection is anonymous. */
export interface NatsOptions {
  /**
   * `nats://HOST:PORT`, or several servers of a cluster with commas in between. `tls://` requires TLS. The address may
   * contain credentials: `nats://USER:PASSWORD@HOST:PORT` or `nats://TOKEN@HOST:PORT`. Default port: 4222.
   */
  url: string
  /** User name. Takes precedence over the address. */
  user?: string
  /** Password of the user. Takes precedence over the address. */
  password?: string
  /** Token. Takes precedence over the address. */
  token?: string
  /** Path of a credentials file with a JWT and its key, as `nsc generate creds` writes it. */
  creds?: string
  /** Path of a file with the seed of an nkey. */
  nkey?: string
  /** Path of a PEM file with the certificate authority of the server. */
  tlsCa?: string
  /** Path of a PEM file with the client's certificate. Requires `tlsKey`. */
  tlsCert?: string
  /** Path of a PEM file with the client's private key. Requires `tlsCert`. */
  tlsKey?: string
}

/** NATS cannot be used: the options are not valid, or the server is not reachable or refuses something. */
export class NatsError extends LabError {
  override readonly name = 'NatsError'
  declare readonly code: 'ERR_NATS'

  constructor(message: string, options?: ErrorOptions) {
    super(message, 'ERR_NATS', undefined, options?.cause)
  }
}
