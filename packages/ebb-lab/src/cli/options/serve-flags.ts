/**
 * The options of `ebb serve`, as data. Commander is told of them, for the help and for what is wrong with a command line; one with
 * nothing wrong is read without it, since it would be a tenth of what the server holds, and is of no use to it.
 */
import { either, parsePort, parsePositive, parseProcesses, ValueError } from './values.js'

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
  /** What stands for its value in the help. */
  value: string
  about: string
  parse: (text: string) => string | number
  preset?: string | number
}

export const SERVE_OPTIONS: readonly Option[] = [
  {
    name: 'host',
    value: 'host',
    about: 'address to listen on; 0.0.0.0 and :: are every interface',
    parse: parseHost,
    preset: '127.0.0.1'
  },
  {
    name: 'port',
    value: 'port',
    about: 'port to listen on; 0 picks a free one and prints it',
    parse: parsePort,
    preset: 3033
  },
  {
    name: 'procs',
    value: 'n',
    about: 'so many servers share the port; one that dies is started again',
    parse: parseProcesses
  },
  {
    name: 'backlog',
    value: 'n',
    about: 'connections that wait to be accepted, at most',
    parse: parsePositive,
    preset: 4096
  },
  {
    name: 'mode',
    value: 'mode',
    about: 'park: bare descriptors in epoll; net: plain node:net, for comparison',
    parse: either('park', 'net'),
    preset: 'park'
  },
  {
    name: 'every',
    value: 'n',
    about: 'a line whenever the number of clients reaches a multiple of n',
    parse: parsePositive,
    preset: 500
  },
  { name: 'log', value: 'form', about: 'text or json', parse: either('text', 'json'), preset: 'text' }
]

/** The flags of `args`; undefined where there is anything but options with a value that can be: commander says what is wrong. */
export function readServeFlags(args: readonly string[]): ServeFlags | undefined {
  const flags: Record<string, string | number> = {}
  for (const { name, preset } of SERVE_OPTIONS) if (preset !== undefined) flags[name] = preset
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
  if (text.trim() === '') throw new ValueError('it is an address or a name: 127.0.0.1, ::1, localhost')
  return text
}
