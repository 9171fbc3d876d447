/** The HTTP server of a live page: the page, its library, and the stream of what changes. */
import { createHash, randomBytes } from 'node:crypto'
import type { IncomingMessage, Server, ServerResponse } from 'node:http'
import { networkInterfaces } from 'node:os'
import { echartsSource } from '../report/charts/echarts.js'
import { codeOf, LabError, reasonOf } from '../units/errors.js'
import type { LiveAddress } from './address.js'
import { Feed } from './feed.js'
import { Guard } from './guard.js'
import { livePage, policyOf } from './page.js'
import { type StreamServer, streamServer } from './streams.js'
import type { LiveView } from './view.js'

/** Ports that are tried after the first. */
const MORE_PORTS = 20
/** Interval between two updates of open pages, ms. */
const INTERVAL = 1000
/** Share of CPU time that updates may take. Above it, they are less frequent. */
const UPDATE_SHARE = 0.01
/** Interval between probes of open pages, ms. */
const PROBE_INTERVAL = 15_000
/** Time for open pages to read the end, ms. */
const PATIENCE = 3000

/** A live page that is being served. It does not keep the process running. */
export interface LiveServer {
  /** URL of the page, with its token if it needs one. */
  url: string
  /** Shows at once what has changed. Pages are updated regularly anyway. */
  update(): void
  /** Shows what has changed, tells pages that nothing more comes, and closes the port. May be called again. */
  end(): Promise<void>
}

/**
 * Serves a live page.
 *
 * @param source returns what is to be shown now. It is called once a second while a page is open, or less often if that
 *   takes more than 1 % of CPU time
 * @throws LabError (the errno) if the address cannot be used
 */
export async function serveLive(address: LiveAddress, source: () => LiveView): Promise<LiveServer> {
  const library = await echartsSource()
  const guard = new Guard(address.host)
  const feed = new Feed(source)
  const streams = streamServer((request, response) => answer(request, response, { streams, feed, guard, library }))
  const { server } = streams
  const port = await listen(server, address)
  server.unref()
  const update = (): void => {
    if (feed.size > 0) feed.update()
  }
  const probe = setInterval(() => feed.probe(), PROBE_INTERVAL).unref()
  let timer = setTimeout(tick, INTERVAL).unref()
  function tick(): void {
    const before = process.cpuUsage()
    update()
    const { user, system } = process.cpuUsage(before)
    timer = setTimeout(tick, Math.max(INTERVAL, (user + system) / 1000 / UPDATE_SHARE)).unref()
  }
  let ended: Promise<void> | undefined
  return {
    url: urlOf(address.host, port, guard.token),
    update,
    end: () => {
      clearTimeout(timer)
      clearInterval(probe)
      ended ??= end(server, feed)
      return ended
    }
  }
}

async function end(server: Server, feed: Feed): Promise<void> {
  if (feed.size > 0) feed.update()
  await feed.end(PATIENCE)
  server.close()
  server.closeAllConnections()
}

/** Listens on the first port that is free, and returns it. */
async function listen(server: Server, { host, port, isFlexible }: LiveAddress): Promise<number> {
  for (let next = port; ; next++) {
    try {
      return await listenOnce(server, host, next)
    } catch (error) {
      if (isFlexible && codeOf(error) === 'EADDRINUSE' && next < port + MORE_PORTS) continue
      const remedy = codeOf(error) === 'EADDRINUSE' ? 'give another port, or :0 for a free one' : 'give another address'
      throw new LabError(
        `cannot serve the live page on ${host}:${next}: ${reasonOf(error)}: ${remedy}`,
        codeOf(error),
        'listen',
        error
      )
    }
  }
}

async function listenOnce(server: Server, host: string, port: number): Promise<number> {
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject)
    server.listen(port, host, () => {
      server.removeListener('error', reject)
      resolve()
    })
  })
  return (server.address() as { port: number }).port
}

/** Returns the URL that a person opens. For all interfaces, it has the address of one of them. */
function urlOf(host: string, port: number, token: string | undefined): string {
  const isAny = host === '0.0.0.0' || host === '::'
  const named = isAny ? (outerAddress() ?? '127.0.0.1') : host
  const query = token === undefined ? '' : `?token=${token}`
  return `http://${named.includes(':') ? `[${named}]` : named}:${port}/${query}`
}

function outerAddress(): string | undefined {
  const all = Object.values(networkInterfaces()).flatMap((addresses) => addresses ?? [])
  return all.find(({ family, internal }) => family === 'IPv4' && !internal)?.address
}

/** What the answers are made of. */
interface Parts {
  streams: StreamServer
  feed: Feed
  guard: Guard
  /** Source of ECharts. */
  library: string
}

/** Headers of every answer. */
const HEADERS = {
  'x-content-type-options': 'nosniff',
  'referrer-policy': 'no-referrer',
  'cross-origin-resource-policy': 'same-origin',
  'cross-origin-opener-policy': 'same-origin'
}

function answer(request: IncomingMessage, response: ServerResponse, { streams, feed, guard, library }: Parts): void {
  for (const [name, value] of Object.entries(HEADERS)) response.setHeader(name, value)
  response.setHeader('cache-control', 'no-store')
  const [path = '', query] = (request.url ?? '/').split('?', 2)
  const refusal = guard.refusal(request, new URLSearchParams(query).get('token'))
  if (refusal !== undefined) {
    refuse(response, refusal.status, refusal.text)
    return
  }
  switch (path) {
    case '/': {
      const nonce = randomBytes(18).toString('base64')
      const token = guard.token === undefined ? '' : `&token=${guard.token}`
      response.setHeader('content-security-policy', policyOf(nonce))
      response.setHeader('content-type', 'text/html; charset=utf-8')
      response.end(livePage(nonce, `/echarts.js?v=${versionOf(library)}${token}`))
      break
    }
    case '/echarts.js':
      // The version is a part of the URL, so the browser may keep it.
      response.setHeader('cache-control', 'private, max-age=31536000, immutable')
      response.setHeader('content-type', 'text/javascript; charset=utf-8')
      response.end(library)
      break
    case '/events': {
      if (request.method === 'HEAD') {
        refuse(response, 405, 'only GET is allowed')
        break
      }
      const lastId = request.headers['last-event-id']
      let close = (): void => {}
      const stream = streams.stream(response, () => close())
      close = feed.open(stream, typeof lastId === 'string' ? lastId : undefined)
      break
    }
    default:
      refuse(response, 404, 'there is nothing here: the page is at /')
  }
}

/** Answers with a status and a sentence. */
function refuse(response: ServerResponse, status: number, text: string): void {
  response.writeHead(status, { 'content-type': 'text/plain; charset=utf-8' })
  response.end(`${text}\n`)
}

function versionOf(library: string): string {
  return createHash('sha256').update(library).digest('hex').slice(0, 12)
}
