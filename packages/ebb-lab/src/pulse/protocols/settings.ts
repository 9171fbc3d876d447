/** What the user may set about a protocol, and what a client gets of it. */
import { METHODS } from 'node:http'
import { isIP } from 'node:net'
import { invalidArgument } from 'ebb/sys'
import type { ClientOptions } from '../client-options.js'
import type { Target } from '../target.js'
import type { ProtocolSettings, TlsSettings } from './protocol.js'

/** TLS of the client. Certificates and keys are PEM texts. */
export interface TlsOptions {
  /** Name for SNI and for the check of the certificate. Default: the host of the target. */
  servername?: string
  /** Certificates of the authorities to trust. Default: those that Node trusts. */
  ca?: string
  /** Certificate of the client, with `key`. Default: none. */
  cert?: string
  key?: string
  /** Whether a certificate that cannot be verified is accepted. Default: false. */
  insecure?: boolean
  /** Whether connections resume the session of an earlier one, which saves most of a handshake. Default: false. */
  resume?: boolean
}

/** What the connections say. Texts may contain `{id}`, `{n}` and `{time}`. */
export interface ProtocolOptions {
  /**
   * Milliseconds between two messages of an active connection, or between two HTTP requests. With 0, the next message
   * follows each answer. Default: only one message.
   */
  every?: number
  /** Milliseconds between two pings of WebSocket or MQTT. Default: none. */
  ping?: number
  /** HTTP method. Default: `GET`, or `POST` with a body. */
  method?: string
  /** Headers of HTTP requests and WebSocket handshakes. Default: none. */
  headers?: readonly (readonly [name: string, value: string])[]
  /** Body of HTTP requests. Default: none. */
  body?: string
  /** WebSocket subprotocols to offer; the server must choose one. Default: none. */
  subprotocols?: readonly string[]
  /** Client identifier of MQTT. It must differ between connections. Default: `ebb-` and random letters and `-{id}`. */
  clientId?: string
  /** MQTT topic filters to subscribe to. Default: none. */
  subscribe?: readonly string[]
  /** MQTT topic to publish the payload to. Default: none. */
  topic?: string
  /** Quality of service of MQTT messages and subscriptions. Default: 0. */
  qos?: 0 | 1
  /** Keep-alive that MQTT announces, in milliseconds. Default: twice `ping`, or none. */
  keepAlive?: number
  /** TLS, for `tls://`, `https://`, `wss://` and `mqtts://`. */
  tls?: TlsOptions
}

/** What is special to each protocol. */
const OF_HTTP = ['method', 'body'] as const
const OF_WEBSOCKET = ['subprotocols'] as const
const OF_MQTT = ['clientId', 'subscribe', 'topic', 'qos', 'keepAlive'] as const
const OWN: Record<Target['protocol'], readonly (keyof ProtocolOptions)[]> = {
  tcp: [],
  http: [...OF_HTTP, 'headers'],
  ws: [...OF_WEBSOCKET, 'headers', 'ping'],
  mqtt: [...OF_MQTT, 'ping']
}
const SPECIAL = [...OF_HTTP, ...OF_WEBSOCKET, ...OF_MQTT, 'headers', 'ping'] as const

/** Longest keep-alive of MQTT, seconds. */
const MAX_KEEP_ALIVE = 65_535
/** A token (RFC 9110, 5.6.2), such as the name of a header. */
export const TOKEN = /^[\w!#$%&'*+.^`|~-]+$/
/** What a header's value may contain (RFC 9110, 5.5): no control characters but tabs. */
export const VALUE = /^[\t\P{Cc}]*$/u

/** Returns what a person calls an option: on the command line, `--message` for `payload`. */
export type NameOption = (option: OptionName) => string
/** Options that error messages name. */
export type OptionName = keyof ProtocolOptions | keyof TlsOptions | 'payload' | 'expectEcho'

/**
 * Returns the client options that depend on the protocol.
 *
 * @param named names of the options in error messages
 * @throws TypeError for an option that does not fit the target, or is out of its range
 */
export function protocolSettings(
  target: Target,
  options: ProtocolOptions,
  { payload, expectEcho }: { payload: string | Uint8Array | null; expectEcho: boolean },
  named: NameOption = (option) => option
): Pick<ClientOptions, 'protocol' | 'tls' | 'every' | 'ping'> {
  const { every, ping } = options
  const foreign = SPECIAL.find((name) => options[name] !== undefined && !OWN[target.protocol].includes(name))
  if (foreign !== undefined) {
    const schemes = schemesFor(foreign).join(' or ')
    throw invalidArgument(`${named(foreign)} is for ${schemes}: ${target.text} has none`)
  }
  if (options.tls !== undefined && !target.tls) {
    throw invalidArgument(`${named('tls')} is for tls://, https://, wss:// or mqtts://: ${target.text} has none`)
  }
  checkTime(named('every'), every, 0)
  checkTime(named('ping'), ping, 1)
  const speaks = target.protocol === 'http' || payload !== null
  if (!speaks && every !== undefined) {
    throw invalidArgument(`${named('every')} needs a message to send: give ${named('payload')}`)
  }
  if (target.protocol === 'http' && (payload !== null || expectEcho)) {
    const advice = payload === null ? 'every request has an answer, leave it out' : `give ${named('body')}`
    throw invalidArgument(`${named(payload === null ? 'expectEcho' : 'payload')} is not for HTTP: ${advice}`)
  }
  const isAnswered = target.protocol === 'http' || expectEcho || (target.protocol === 'mqtt' && options.qos === 1)
  if (every === 0 && !isAnswered) {
    throw invalidArgument(`${named('every')} of 0 needs answers to wait for: give ${named('expectEcho')}`)
  }
  return {
    protocol: settingsOf(target, options, payload, named),
    tls: target.tls ? tlsOf(target, options.tls ?? {}, named) : null,
    ...(every !== undefined && { every }),
    ...(ping !== undefined && { ping })
  }
}

function schemesFor(name: keyof ProtocolOptions): string[] {
  return Object.entries(OWN).flatMap(([protocol, own]) => (own.includes(name) ? [`${protocol}://`] : []))
}

function checkTime(name: string, ms: number | undefined, least: number): void {
  if (ms === undefined || (ms >= least && Number.isFinite(ms))) return
  throw invalidArgument(`${name} must be at least ${least} ms, not ${ms}`)
}

function settingsOf(
  target: Target,
  options: ProtocolOptions,
  payload: string | Uint8Array | null,
  named: NameOption
): ProtocolSettings {
  switch (target.protocol) {
    case 'tcp':
      return { protocol: 'tcp' }
    case 'http': {
      const { body = null, method = body === null ? 'GET' : 'POST' } = options
      if (!METHODS.includes(method) || method === 'CONNECT') {
        throw invalidArgument(`${JSON.stringify(method)} is no HTTP method: write it in capitals, as in GET`)
      }
      const headers = headersOf(target, options)
      return { protocol: 'http', host: target.authority, path: target.path, method, headers, body }
    }
    case 'ws': {
      const { subprotocols = [] } = options
      const wrong = subprotocols.find((name) => !TOKEN.test(name))
      if (wrong !== undefined) throw invalidArgument(`${JSON.stringify(wrong)} is no name of a subprotocol`)
      const headers = headersOf(target, options)
      return { protocol: 'ws', host: target.authority, path: target.path, headers, subprotocols }
    }
    case 'mqtt':
      return mqttOf(target, options, payload, named)
  }
}

/** Returns the given headers, and the user of the URL as a header. */
function headersOf({ username, password }: Target, { headers = [] }: ProtocolOptions): [string, string][] {
  for (const [name, value] of headers) {
    if (!TOKEN.test(name)) throw invalidArgument(`${JSON.stringify(name)} is no name of a header`)
    if (!VALUE.test(value)) throw invalidArgument(`the header ${name} has a value with characters that are not allowed`)
  }
  const credentials = Buffer.from(`${username}:${password ?? ''}`).toString('base64')
  const own: [string, string][] = username === null ? [] : [['Authorization', `Basic ${credentials}`]]
  const isGiven = headers.some(([name]) => name.toLowerCase() === 'authorization')
  return [...(isGiven ? [] : own), ...headers.map(([name, value]): [string, string] => [name, value])]
}

function mqttOf(
  target: Target,
  options: ProtocolOptions,
  payload: string | Uint8Array | null,
  named: NameOption
): ProtocolSettings {
  const { ping, keepAlive: ms = ping === undefined ? 0 : 2 * ping, qos = 0, subscribe = [], topic = null } = options
  const keepAlive = Math.ceil(ms / 1000)
  if (!(keepAlive >= 0 && keepAlive <= MAX_KEEP_ALIVE)) {
    throw invalidArgument(`${named('keepAlive')} must be at most ${MAX_KEEP_ALIVE} s, not ${ms / 1000} s`)
  }
  if (qos !== 0 && qos !== 1) throw invalidArgument(`${named('qos')} must be 0 or 1, not ${qos}`)
  if ((payload === null) !== (topic === null)) {
    throw invalidArgument(`${named('topic')} and ${named('payload')} belong together: give both, or neither`)
  }
  if (topic !== null && !/^[^+#\0]+$/.test(topic)) {
    throw invalidArgument(`${JSON.stringify(topic)} is no topic to publish to: it has no + and #, and is not empty`)
  }
  const wrong = subscribe.find((filter) => filter === '' || filter.includes('\0'))
  if (wrong !== undefined) throw invalidArgument(`${JSON.stringify(wrong)} is no topic filter`)
  if (target.password !== null && target.username === '') throw invalidArgument('MQTT has no password without a user')
  return {
    protocol: 'mqtt',
    clientId: options.clientId ?? `ebb-${Math.random().toString(36).slice(2, 8)}-{id}`,
    username: target.username,
    password: target.password,
    keepAlive,
    subscribe,
    topic,
    qos
  }
}

function tlsOf({ address, protocol }: Target, options: TlsOptions, named: NameOption): TlsSettings {
  const { ca = null, cert = null, key = null, insecure = false, resume = false } = options
  if ((cert === null) !== (key === null)) {
    throw invalidArgument(`${named('cert')} and ${named('key')} belong together: give both, or neither`)
  }
  const host = 'path' in address ? '' : address.host
  // SNI has no IP addresses (RFC 6066, 3).
  const servername = options.servername ?? (isIP(host) === 0 ? host : '')
  return { servername, ca, cert, key, insecure, resume, alpn: alpnOf(protocol), host }
}

/** Returns the application protocols that TLS offers for a protocol. */
export function alpnOf(protocol: Target['protocol']): string[] {
  return protocol === 'http' || protocol === 'ws' ? ['http/1.1'] : []
}
