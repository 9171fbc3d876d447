/** Requests that another process has read. */
import { IncomingMessage } from 'node:http'
import type { Socket } from 'node:net'

/** Makes the request for an upgrade that another process has read. @param rawHeaders as `IncomingMessage` has them */
export function upgradeRequest(socket: Socket, url: string, rawHeaders: readonly string[]): IncomingMessage {
  const request = new IncomingMessage(socket)
  // What the parser calls. `headers` is made of these when it is read.
  const parsed = request as unknown as { _addHeaderLines(headers: readonly string[], count: number): void }
  parsed._addHeaderLines(rawHeaders, rawHeaders.length)
  const version = { httpVersion: '1.1', httpVersionMajor: 1, httpVersionMinor: 1 }
  return Object.assign(request, version, { method: 'GET', url, upgrade: true, complete: true })
}
