/**
 * The options of `ebb serve`, as data. A correct command line is read here, without commander, which would take about
 * 10 % of the server's memory. Commander gets the same options for the help and for error messages.
 */
import { either, parsePort, parsePositive, parseProcesses, ValueError } from './values.js'

/** Values of the options of `ebb serve`. */
export interface ServeFlags {
  host: string
  port: number
  procs?: number
  backlog: number
  mode: 'park' | 'net'
  every: number
  log: 'text' | 'json'
}

interface Option {
  name: keyof ServeFlags
  /** Placeholder for the value in the help. */
  value: string
  description: string
  parse: (text: string) => string | number
  default?: string | number
}

/** The options of `ebb serve`. Each has a value. */
export const SERVE_OPTIONS: readonly Option[] = [
  {
    name: 'host',
    value: 'host',
    description: 'address to listen on; 0.0.0.0 or :: for every interface',
    parse: parseHost,
    default: '127.0.0.1'
  },
  {
    name: 'port',
    value: 'port',
    description: 'port to listen on; 0 picks a free port and prints it',
    parse: parsePort,
    default: 3033
  },
  {
    name: 'procs',
    value: 'n',
    description: 'number of server processes sharing the port; a process that dies is restarted',
    parse: parseProcesses
  },
  {
    name: 'backlog',
    value: 'n',
    description: 'maximum number of connections waiting to be accepted',
    parse: parsePositive,
    default: 4096
  },
  {
    name: 'mode',
    value: 'mode',
    description: 'park: idle connections are bare descriptors in epoll; net: plain node:net, for comparison',
    parse: either('park', 'net'),
    default: 'park'
  },
  {
    name: 'every',
    value: 'n',
    description: 'log a line whenever the number of clients reaches a multiple of n',
    parse: parsePositive,
    default: 500
  },
  {
    name: 'log',
    value: 'form',
    description: 'format of the log: text or json',
    parse: either('text', 'json'),
    default: 'text'
  }
]

/**
 * Reads the arguments of `ebb serve`. Returns undefined if they hold anything but known options with accepted values,
 * so that commander reads them again and prints the help or an error.
 */
export function readServeFlags(args: readonly string[]): ServeFlags | undefined {
  const flags: Record<string, string | number> = {}
  for (const { name, default: value } of SERVE_OPTIONS) if (value !== undefined) flags[name] = value
  for (let i = 0; i < args.length; i++) {
    const match = /^--?([a-z]+)(?:=(.*))?$/s.exec(args[i] as string)
    const option = SERVE_OPTIONS.find(({ name }) => name === match?.[1])
    const value = match?.[2] ?? args[++i]
    if (option === undefined || value === undefined || value.startsWith('-')) return undefined
    try {
      flags[option.name] = option.parse(value)
    } catch {
      return undefined
    }
  }
  return flags as unknown as ServeFlags
}

function parseHost(text: string): string {
  if (text.trim() === '') throw new ValueError('a host is an address or a name: 127.0.0.1, ::1, localhost')
  return text
}
