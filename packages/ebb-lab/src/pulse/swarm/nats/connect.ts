/** Connects to NATS with credentials, an nkey, a user and password, a token, or TLS. */
import { readFile } from 'node:fs/promises'
import {
  type Authenticator,
  type ConnectionOptions,
  connect,
  credsAuthenticator,
  errors,
  type NatsConnection,
  nkeyAuthenticator
} from '@nats-io/transport-node'
import { reasonOf } from '../../../units/errors.js'
import { NatsError, type NatsOptions } from './options.js'

/** Maximum milliseconds until the server accepts the connection. */
const CONNECT_TIMEOUT = 5000
/** Milliseconds between two attempts to reconnect. */
const RECONNECT_WAIT = 100
/** Maximum random addition to this wait in ms, so that many agents do not reconnect at once. */
const RECONNECT_JITTER = 200
/** Milliseconds between two pings. A server that does not answer two of them is gone. */
const PING_INTERVAL = 2000

/**
 * Opens a connection that is restored by itself until it is closed.
 *
 * @throws {NatsError} if the options are not valid, or the server cannot be reached or refuses the user
 */
export async function connectNats(options: NatsOptions): Promise<NatsConnection> {
  const servers = options.url.split(',').map((url) => serverOf(url.trim()))
  try {
    return await connect({
      servers: servers.map(({ host }) => host),
      name: 'ebb',
      timeout: CONNECT_TIMEOUT,
      maxReconnectAttempts: -1,
      reconnectTimeWait: RECONNECT_WAIT,
      reconnectJitter: RECONNECT_JITTER,
      reconnectJitterTLS: RECONNECT_JITTER,
      pingInterval: PING_INTERVAL,
      ...(await encryption(options, servers)),
      ...(await authentication(options, servers[0]))
    })
  } catch (error) {
    throw error instanceof NatsError ? error : toNatsError(error, servers.map(({ host }) => host).join(', '))
  }
}

/** Returns the client's options for authentication. Options take precedence over the address of the first server. */
async function authentication(options: NatsOptions, first: Server | undefined): Promise<ConnectionOptions> {
  const { password = first?.password, creds, nkey } = options
  // In an address, a user without a password is a token, as in NATS's other clients.
  const isToken = options.user === undefined && password === undefined
  const { user = isToken ? undefined : first?.user, token = isToken ? first?.user : undefined } = options
  const authenticators: Authenticator[] = []
  if (creds !== undefined) authenticators.push(credsAuthenticator(await bytesOf(creds)))
  if (nkey !== undefined) authenticators.push(nkeyAuthenticator(Buffer.from(String(await bytesOf(nkey)).trim())))
  return {
    ...(user !== undefined && { user }),
    ...(password !== undefined && { pass: password }),
    ...(token !== undefined && { token }),
    ...(authenticators.length > 0 && { authenticator: authenticators })
  }
}

/** Returns the client's options for TLS, or no options if TLS is not required. */
async function encryption(
  { tlsCa, tlsCert, tlsKey }: NatsOptions,
  servers: readonly Server[]
): Promise<ConnectionOptions> {
  if ((tlsCert === undefined) !== (tlsKey === undefined)) {
    throw new NatsError('a TLS certificate and its key go together: give both')
  }
  if (!servers.some(({ tls }) => tls) && tlsCa === undefined && tlsCert === undefined) return {}
  return {
    tls: {
      ...(tlsCa !== undefined && { ca: String(await bytesOf(tlsCa)) }),
      ...(tlsCert !== undefined && { cert: String(await bytesOf(tlsCert)) }),
      ...(tlsKey !== undefined && { key: String(await bytesOf(tlsKey)) })
    }
  }
}

/** Makes an error that says what failed, at which server, and what to do. */
export function toNatsError(error: unknown, where: string): NatsError {
  const { message, code, cause } = error as NodeJS.ErrnoException
  const reason = (cause as NodeJS.ErrnoException | undefined)?.code ?? code
  const failed = (text: string): NatsError => new NatsError(text, { cause: error })
  if (error instanceof errors.AuthorizationError || error instanceof errors.UserAuthenticationExpiredError) {
    return failed(
      `NATS at ${where} refuses this user (${message}): check --creds, --nkey, --user and --password, or --token`
    )
  }
  if (error instanceof errors.PermissionViolationError) {
    const { operation, subject } = error
    const what = operation === 'publish' ? 'publish' : 'subscribe'
    return failed(
      `NATS at ${where} does not let this user ${what} to ${subject}: allow it the subjects ebb.>, $SRV.> and _INBOX.>`
    )
  }
  if (error instanceof errors.TimeoutError) {
    return failed(`NATS at ${where} does not answer within ${CONNECT_TIMEOUT / 1000} s: check that it is a NATS server`)
  }
  if (reason === 'ECONNREFUSED') {
    return failed(`no NATS server listens at ${where}: start one (nats-server -p 4222), or check --nats`)
  }
  // The client has no code and no class for this error.
  if (message.includes('unexpected response')) {
    return failed(`the server at ${where} is not a NATS server: check --nats`)
  }
  if (reason === 'ENOTFOUND' || reason === 'EAI_AGAIN') {
    return failed(`cannot use NATS at ${where}: ${reasonOf({ code: reason })}; check the spelling in --nats`)
  }
  return failed(`cannot use NATS at ${where}: ${message}; check --nats`)
}

/** A server of the address. */
interface Server {
  /** `HOST:PORT` */
  host: string
  /** Whether TLS is required. */
  tls: boolean
  user?: string
  password?: string
}

/** Parses an address, because the client ignores `tls://` and a user in it. */
function serverOf(url: string): Server {
  const wrong = (): NatsError => {
    const withoutCredentials = url.replace(/^([a-z]+:\/\/)?.*@/, '$1...@')
    return new NatsError(
      `the address of NATS is nats://HOST:PORT or tls://HOST:PORT, not ${JSON.stringify(withoutCredentials)}`
    )
  }
  const decoded = (text: string): string => {
    try {
      return decodeURIComponent(text)
    } catch {
      throw wrong()
    }
  }
  const whole = /^[a-z]+:\/\//.test(url) ? url : `nats://${url}`
  if (!/^(nats|tls):\/\//.test(whole) || !URL.canParse(whole)) throw wrong()
  const { protocol, hostname, port, username, password, pathname } = new URL(whole)
  if (hostname === '' || !['', '/'].includes(pathname)) throw wrong()
  return {
    host: `${hostname}:${port || 4222}`,
    tls: protocol === 'tls:',
    ...(username !== '' && { user: decoded(username) }),
    ...(password !== '' && { password: decoded(password) })
  }
}

async function bytesOf(path: string): Promise<Buffer> {
  try {
    return await readFile(path)
  } catch (error) {
    throw new NatsError(`cannot read ${path}: ${reasonOf(error)}`, { cause: error })
  }
}
