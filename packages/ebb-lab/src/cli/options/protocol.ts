/** The options of `ebb pulse` and `ebb bench` that say what connections speak. */
import { readFileSync } from 'node:fs'
import type { Command } from 'commander'
import type { OptionName, ProtocolOptions, TlsOptions } from '../../pulse/protocols/settings.js'
import { defined } from '../../units/defined.js'
import { reasonOf } from '../../units/errors.js'
import { dashed } from './dashes.js'
import { parsePositiveTime, parseTime, ValueError } from './values.js'

/** Values of the protocol options. Times are milliseconds. */
export interface ProtocolFlags {
  every?: number
  ping?: number
  method?: string
  header?: [name: string, value: string][]
  body?: string
  subprotocol?: string[]
  clientId?: string
  subscribe?: string[]
  topic?: string
  qos?: 0 | 1
  keepAlive?: number
  ca?: string
  cert?: string
  key?: string
  sni?: string
  insecure?: boolean
  tlsResume?: boolean
}

/** Adds the protocol options to a command. */
export function protocolOptions(command: Command): Command {
  return command
    .optionsGroup('Protocols (texts may contain {id}, {n} and {time}):')
    .option('--every <time>', 'repeat the message or HTTP request; 0: after each answer (default: once)', parseTime)
    .option('--ping <time>', 'WebSocket, MQTT: send a ping this often (default: never)', parsePositiveTime)
    .option('--method <name>', 'HTTP: method (default: GET; POST with --body)')
    .option('--header <line>', 'HTTP, WebSocket: "Name: value"; repeat for several', header)
    .option('--body <text>', 'HTTP: body of each request')
    .option('--subprotocol <name>', 'WebSocket: subprotocol to ask for; repeat for several', several)
    .option('--client-id <text>', 'MQTT: client identifier (default: ebb-...-{id})')
    .option('--subscribe <filter>', 'MQTT: topic filter to subscribe to; repeat for several', several)
    .option('--topic <text>', 'MQTT: topic to publish the message to')
    .option('--qos <n>', 'MQTT: quality of service of messages and subscriptions, 0 or 1 (default: 0)', qos)
    .option('--keep-alive <time>', 'MQTT: keep-alive to announce (default: twice --ping)', parseTime)
    .option('--ca <file>', 'TLS: certificates of the authorities to trust, PEM')
    .option('--cert <file>', 'TLS: certificate of the client, PEM; with --key')
    .option('--key <file>', 'TLS: key of that certificate, PEM')
    .option('--sni <name>', 'TLS: server name to ask for and to check (default: the host)')
    .option('--insecure', 'TLS: accept any certificate')
    .option('--tls-resume', 'TLS: resume sessions')
}

/** Returns the protocol options that were given. */
export function protocolOf(flags: ProtocolFlags): ProtocolOptions {
  const { every, ping, method, header: headers, body, subprotocol: subprotocols } = flags
  const { clientId, subscribe, topic, qos: level, keepAlive } = flags
  const { sni: servername, insecure, tlsResume: resume } = flags
  const tls: TlsOptions = defined({
    servername,
    insecure,
    resume,
    ca: contentsOf('--ca', flags.ca),
    cert: contentsOf('--cert', flags.cert),
    key: contentsOf('--key', flags.key)
  })
  return defined({
    every,
    ping,
    method,
    headers,
    body,
    subprotocols,
    clientId,
    subscribe,
    topic,
    qos: level,
    keepAlive,
    tls: Object.keys(tls).length === 0 ? undefined : tls
  })
}

/** Options of a protocol whose flags have names of their own. */
const FLAGS: Partial<Record<OptionName, string>> = {
  payload: '--message',
  headers: '--header',
  subprotocols: '--subprotocol',
  servername: '--sni',
  resume: '--tls-resume'
}
const TLS_FLAGS = ['ca', 'cert', 'key', 'sni', 'insecure', 'tlsResume'] as const

/** Returns an option as it is typed on the command line. `tls` is the first of its flags that was given. */
export function typedAs(option: OptionName, flags: ProtocolFlags): string {
  if (option !== 'tls') return FLAGS[option] ?? dashed(option)
  return dashed(TLS_FLAGS.find((name) => flags[name] !== undefined) ?? option)
}

function contentsOf(option: string, path: string | undefined): string | undefined {
  if (path === undefined) return undefined
  try {
    return readFileSync(path, 'utf8')
  } catch (error) {
    throw new ValueError(`${option}: cannot read ${path}: ${reasonOf(error)}`)
  }
}

function several(text: string, before: string[] = []): string[] {
  return [...before, text]
}

function header(text: string, before: [string, string][] = []): [string, string][] {
  const match = /^\s*([^:\s]+)\s*:\s*(.*)$/s.exec(text)
  if (match === null) throw new ValueError('a header is "Name: value"')
  return [...before, [match[1] as string, (match[2] as string).trimEnd()]]
}

function qos(text: string): 0 | 1 {
  if (text !== '0' && text !== '1') throw new ValueError('it must be 0 or 1')
  return text === '0' ? 0 : 1
}
