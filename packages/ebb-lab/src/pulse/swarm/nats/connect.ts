/** Connecting to NATS as its clients do: credentials, nkeys, user and password, a token, TLS. Errors are sentences. */
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
import { NatsError, type NatsOptions } from './options.js'

/** To be let in by a server that is there, ms. */
const CONNECT_TIMEOUT = 5000
/** From one try to come back to the next, and by how much that varies, so that many agents do not come at once, ms. */
const RECONNECT_WAIT = 100
const RECONNECT_JITTER = 200
/** A server that does not answer this often, two times, has gone, ms. */
const PING = 2000

/** A connection that comes back by itself for as long as it is not closed. @throws {NatsError} */
export async function connectNats(options: NatsOptions): Promise<NatsConnection> {
  const servers = options.url.split(',').map((url) => serverOf(url.trim()))
  const [first] = servers
  const { password = first?.password, creds, nkey } = options
  // A user in the address without a password is a token: so do NATS's other clients have it.
  const bare = options.user === undefined && password === undefined
  const { user = bare ? undefined : first?.user, token = bare ? first?.user : undefined } = options
  const { tlsCa, tlsCert, tlsKey } = options
  if ((tlsCert === undefined) !== (tlsKey === undefined)) {
    throw new NatsError('a TLS certificate and its key go together: give both')
  }
  const secured = servers.some(({ tls }) => tls) || tlsCa !== undefined || tlsCert !== undefined
  const authenticators: Authenticator[] = []
  if (creds !== undefined) authenticators.push(credsAuthenticator(await bytesOf(creds)))
  if (nkey !== undefined) authenticators.push(nkeyAuthenticator(Buffer.from(String(await bytesOf(nkey)).trim())))
  const connecting: ConnectionOptions = {
    servers: servers.map(({ host }) => host),
    name: 'ebb',
    timeout: CONNECT_TIMEOUT,
    maxReconnectAttempts: -1,
    reconnectTimeWait: RECONNECT_WAIT,
    reconnectJitter: RECONNECT_JITTER,
    reconnectJitterTLS: RECONNECT_JITTER,
    pingInterval: PING,
    ...(user !== undefined && { user }),
    ...(password !== undefined && { pass: password }),
    ...(token !== undefined && { token }),
    ...(authenticators.length > 0 && { authenticator: authenticators }),
    ...(secured && {
      tls: {
        ...(tlsCa !== undefined && { ca: String(await bytesOf(tlsCa)) }),
        ...(tlsCert !== undefined && { cert: String(await bytesOf(tlsCert)) }),
        ...(tlsKey !== undefined && { key: String(await bytesOf(tlsKey)) })
      }
    })
  }
  try {
    return await connect(connecting)
  } catch (error) {
    throw explained(error, servers.map(({ host }) => host).join(', '))
  }
}

/** What NATS says, as a person would. */
export function explained(error: unknown, where: string): NatsError {
  const { message, code, cause } = error as NodeJS.ErrnoException
  const reason = (cause as NodeJS.ErrnoException | undefined)?.code ?? code
  const because = { cause: error }
  if (error instanceof errors.AuthorizationError || error instanceof errors.UserAuthenticationExpiredError) {
    return new NatsError(
      `NATS at ${where} does not let us in (${message}): check --creds, --nkey, --user and --password, or --token`,
      because
    )
  }
  if (error instanceof errors.PermissionViolationError) {
    const { operation, subject } = error
    return new NatsError(
      `NATS at ${where} does not let us ${operation === 'publish' ? 'publish' : 'subscribe'} to ${subject}: give this user the subjects ebb.>, $SRV.> and _INBOX.>`,
      because
    )
  }
  if (error instanceof errors.TimeoutError) {
    return new NatsError(
      `NATS at ${where} does not answer within ${CONNECT_TIMEOUT / 1000} s: is it a NATS server?`,
      because
    )
  }
  if (reason === 'ECONNREFUSED') {
    return new NatsError(
      `no NATS server listens at ${where}: start one (nats-server -p 4222), or check --nats`,
      because
    )
  }
  if (message.includes('unexpected response')) {
    return new NatsError(`what listens at ${where} is no NATS server: check --nats`, because)
  }
  return new NatsError(`cannot use NATS at ${where}: ${message}`, because)
}

interface Server {
  host: string
  tls: boolean
  user?: string
  password?: string
}

/** The client takes `tls://` for a plain address, and leaves a user in it out: both are read here. */
function serverOf(url: string): Server {
  const wrong = (): NatsError =>
    new NatsError(
      // Who is let in is nobody else's business.
      `NATS's address is nats://HOST:PORT or tls://HOST:PORT, not ${JSON.stringify(url.replace(/^([a-z]+:\/\/)?.*@/, '$1...@'))}`
    )
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
    throw new NatsError(`cannot read ${path}: ${(error as Error).message}`, { cause: error })
  }
}
