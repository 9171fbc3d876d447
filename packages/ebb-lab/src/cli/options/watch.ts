/** The options of `ebb pulse` and `ebb bench` that say how a run is watched. */
import type { Command } from 'commander'
import { parsePort, ValueError } from './values.js'

/** Values of the options. */
export interface WatchFlags {
  json?: boolean
  jsonStream?: boolean
  metrics?: { host: string; port: number }
}

/** Adds the options to a command. */
export function watchOptions(command: Command): Command {
  return command
    .option('--json-stream', 'print one JSON object per line: statistics every second, events, then the result')
    .option(
      '--metrics <address>',
      'serve OpenMetrics for Prometheus at [HOST]:PORT, on 127.0.0.1 by default',
      parseListenAddress
    )
}

/** @throws ValueError if both forms of JSON are asked for */
export function checkWatch({ json, jsonStream }: WatchFlags): void {
  if (json && jsonStream) throw new ValueError('--json-stream prints the result as well: leave out --json')
}

/** Parses `PORT`, `:PORT`, `HOST:PORT` or `[IPv6]:PORT`, where to listen. The default host is 127.0.0.1. */
export function parseListenAddress(text: string): { host: string; port: number } {
  const [, v6, name, port = ''] = /^(?:(?:\[([^\]]+)\]|([^:[\]/]*)):)?(\d+)$/.exec(text.trim()) ?? []
  if (port === '') throw new ValueError('it must be :PORT, HOST:PORT or [IPv6]:PORT')
  return { host: v6 || name || '127.0.0.1', port: parsePort(port) }
}
