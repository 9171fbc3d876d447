/** The first line of the view: the box as a whole. */
import os from 'node:os'
import { integer } from '../../units/format.js'
import { clean, fit } from '../../units/text.js'
import type { BoxSample } from '../sample.js'

/** Returns a line about the box: how many servers and clients it has, its memory and its memory pressure. */
export function boxLine(sample: BoxSample, shown: number, width: number): string {
  const { servers, memory, pressure, hidden } = sample
  const clients = servers.reduce((sum, server) => sum + (server.clients ?? 0), 0)
  const count = shown < servers.length ? `${shown} of ${servers.length} servers` : plural(servers.length, 'server')
  const parts = [
    `ebb top ${clean(os.hostname())}`,
    count,
    plural(clients, 'client'),
    `${gigabytes(memory.available)} of ${gigabytes(memory.total)} GB available`
  ]
  if (pressure !== null) parts.push(`pressure ${(pressure * 100).toFixed(1)} %`)
  if (hidden > 0) parts.push(`${plural(hidden, 'socket')} hidden`)
  return fit(parts.join('  '), width)
}

function gigabytes(bytes: number): string {
  return (bytes / 1e9).toFixed(1)
}

function plural(count: number, name: string): string {
  return `${integer(count)} ${name}${count === 1 ? '' : 's'}`
}
