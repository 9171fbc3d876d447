/** How connections are made, in messages: from the options of the coordinator to those of an agent's clients. */
import { invalidArgument } from 'ebb/sys'
import type { ClientOptions } from '../client-options.js'
import { alpnOf } from '../protocols/settings.js'
import type { Target } from '../target.js'
import { type ConnectSettings, connectSettingsSchema } from './messages.js'

/** Maximum size of settings in bytes. The rest of a message has room beside them. */
const MAX_SETTINGS = 196_608

/** Options of clients that do not depend on the machine. */
export type CommonOptions = Omit<ClientOptions, 'address' | 'sources' | 'part'>

/**
 * Returns the settings for the servers of a run.
 *
 * @param clients the options of the clients of each server, which differ in protocol and TLS alone
 * @throws TypeError for what a swarm cannot reach or must not carry
 */
export function connectSettings(
  clients: readonly [[Target, CommonOptions], ...[Target, CommonOptions][]]
): ConnectSettings {
  const [[, options]] = clients
  const [server, ...others] = clients.map(([target, { protocol, tls }]) => serverOf(target, protocol, tls)) as [
    ConnectSettings['server'],
    ...ConnectSettings['server'][]
  ]
  const { rate, payload, timeout, close, active, expectEcho, every, ping } = options
  const settings = {
    server,
    ...(others.length > 0 && { others }),
    timeout,
    close,
    active,
    expectEcho,
    rate: rate === Number.POSITIVE_INFINITY ? null : rate,
    payload: payload === null ? null : Buffer.from(payload).toString('base64'),
    ...(typeof payload === 'string' && { isText: true }),
    ...(every !== undefined && { every }),
    ...(ping !== undefined && { ping })
  }
  const [issue] = connectSettingsSchema.safeParse(settings).error?.issues ?? []
  if (issue !== undefined) {
    throw invalidArgument(`a swarm cannot carry ${issue.path.join('.') || 'these options'}: ${issue.message}`)
  }
  const size = Buffer.byteLength(JSON.stringify(settings))
  if (size <= MAX_SETTINGS) return settings
  throw invalidArgument(
    `a swarm carries at most ${MAX_SETTINGS} bytes of settings, not ${size}: shorten the body, the headers or the ` +
      'payload, or give fewer servers'
  )
}

function serverOf(
  { address, text }: Target,
  protocol: ClientOptions['protocol'],
  tls: ClientOptions['tls']
): ConnectSettings['server'] {
  if ('path' in address) throw invalidArgument('a swarm cannot reach a Unix socket of one machine: give HOST:PORT')
  if (tls == null) return { ...address, text, ...(protocol !== undefined && { protocol }) }
  const { ca, cert, key, servername, insecure, resume } = tls
  if (ca !== null || cert !== null || key !== null) {
    throw invalidArgument(
      'certificates and keys are not sent to the agents of a swarm: leave ca, cert and key out, and start agents with ' +
        'NODE_EXTRA_CA_CERTS for an authority of your own'
    )
  }
  return { ...address, text, ...(protocol !== undefined && { protocol }), tls: { servername, insecure, resume } }
}

/** Returns the server for people. */
export function nameOf({ host, port, text }: ConnectSettings['server']): string {
  return text ?? `${host}:${port}`
}

/** Returns the options of an agent's clients of a server, without what is the agent's own. */
export function clientSettings(
  how: ConnectSettings,
  { host, protocol, tls }: ConnectSettings['server']
): CommonOptions {
  const { rate, timeout, close, active, expectEcho, every, ping } = how
  return {
    rate: rate ?? Number.POSITIVE_INFINITY,
    timeout,
    close,
    payload: payloadOf(how),
    active,
    expectEcho,
    ...(protocol !== undefined && { protocol }),
    ...(tls !== undefined && {
      tls: { ...tls, host, ca: null, cert: null, key: null, alpn: alpnOf(protocol?.protocol ?? 'tcp') }
    }),
    ...(every !== undefined && { every }),
    ...(ping !== undefined && { ping })
  }
}

function payloadOf({ payload, isText }: ConnectSettings): string | Uint8Array | null {
  if (payload === null || payload === '') return null
  const bytes = Buffer.from(payload, 'base64')
  return isText ? bytes.toString() : bytes
}
