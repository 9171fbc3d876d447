/** Decides who may see a live page. */
import { createHash, randomBytes, timingSafeEqual } from 'node:crypto'
import type { IncomingMessage } from 'node:http'
import { isIP } from 'node:net'

/** Why a request is refused. */
export interface Refusal {
  status: 401 | 403 | 405
  text: string
}

/**
 * Checks requests. On a loopback address, only this machine can connect, so it is enough that the browser asked for a
 * loopback name: a page of another site that points its own name to 127.0.0.1 (DNS rebinding) asks for its own name. On
 * any other address, a request needs the token.
 */
export class Guard {
  /** Undefined on a loopback address. */
  readonly token: string | undefined

  constructor(host: string) {
    this.token = isLoopback(host) ? undefined : randomBytes(18).toString('base64url')
  }

  /**
   * Returns why a request is refused; undefined if it is allowed.
   *
   * @param given the token of the URL
   */
  refusal({ method, headers }: IncomingMessage, given: string | null): Refusal | undefined {
    if (method !== 'GET' && method !== 'HEAD') return { status: 405, text: 'only GET is allowed' }
    if (isFromElsewhere(headers)) return { status: 403, text: 'this page is not for other sites' }
    if (this.token === undefined) {
      if (isLoopback(hostNameOf(headers.host ?? ''))) return undefined
      return {
        status: 403,
        text: 'open this page at 127.0.0.1 or localhost; to open it from elsewhere, start ebb with --live=HOST:PORT'
      }
    }
    const bearer = /^Bearer (.+)$/i.exec(headers.authorization ?? '')?.[1]
    if (isEqual(given ?? bearer ?? '', this.token)) return undefined
    return { status: 401, text: 'the token is missing or wrong: open the URL that ebb has printed' }
  }
}

/** Whether an address or a host name leads to this machine only. */
function isLoopback(host: string): boolean {
  if (host === 'localhost' || host === '::1') return true
  return isIP(host) === 4 && host.startsWith('127.')
}

/** Returns the name in a Host header, without port and brackets. */
function hostNameOf(host: string): string {
  return host
    .replace(/:\d+$/, '')
    .replace(/^\[(.*)\]$/, '$1')
    .toLowerCase()
}

/** Whether a page of another origin sent the request. A link that the reader followed is allowed. */
function isFromElsewhere(headers: IncomingMessage['headers']): boolean {
  const { origin, host } = headers
  if (origin !== undefined && origin.replace(/^https?:\/\//, '') !== host) return true
  const site = headers['sec-fetch-site']
  return site !== undefined && site !== 'same-origin' && site !== 'none' && headers['sec-fetch-mode'] !== 'navigate'
}

/** Compares in a time that does not depend on where the texts differ. */
function isEqual(one: string, other: string): boolean {
  const digest = (text: string): Buffer => createHash('sha256').update(text).digest()
  return timingSafeEqual(digest(one), digest(other))
}
