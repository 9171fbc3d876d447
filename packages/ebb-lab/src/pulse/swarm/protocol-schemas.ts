/**
 * Schemas of what connections say: `ProtocolSettings` and `TlsSettings` in the messages of a swarm. An agent gets them
 * from another machine, so it checks again what the coordinator has checked, and the size of everything.
 */
import { METHODS } from 'node:http'
import { z } from 'zod'
import { TOKEN, VALUE } from '../protocols/settings.js'

/** Maximum length of a text that is sent as one field, such as a path or the value of a header. */
const MAX_FIELD = 16_384
/** Maximum length of a name. */
const MAX_NAME = 1000
/** Maximum number of headers, subprotocols or topic filters. */
const MAX_LIST = 100
/** Maximum length of the body of a request. */
const MAX_BODY = 98_304

const authority = z
  .string()
  .max(300)
  .regex(/^[\x21-\x7e]+$/)
const path = z
  .string()
  .max(MAX_FIELD)
  .regex(/^\/[\x21-\x7e]*$/)
const headers = z
  .array(z.tuple([z.string().max(MAX_NAME).regex(TOKEN), z.string().max(MAX_FIELD).regex(VALUE)]).readonly())
  .max(MAX_LIST)
  .readonly()

const http = z.object({
  protocol: z.literal('http'),
  host: authority,
  path,
  method: z.string().refine((method) => METHODS.includes(method) && method !== 'CONNECT', 'no HTTP method'),
  headers,
  body: z.string().max(MAX_BODY, 'it must be 96 KiB at most').nullable()
})

const webSocket = z.object({
  protocol: z.literal('ws'),
  host: authority,
  path,
  headers,
  subprotocols: z.array(z.string().max(MAX_NAME).regex(TOKEN)).max(MAX_LIST).readonly()
})

const mqtt = z.object({
  protocol: z.literal('mqtt'),
  clientId: z.string().max(MAX_NAME),
  username: z.string().max(MAX_FIELD).nullable(),
  password: z.string().max(MAX_FIELD).nullable(),
  /** Seconds. */
  keepAlive: z.number().int().min(0).max(65_535),
  subscribe: z
    .array(
      z
        .string()
        .min(1)
        .max(MAX_NAME)
        .regex(/^[^\0]*$/)
    )
    .max(MAX_LIST)
    .readonly(),
  topic: z
    .string()
    .max(MAX_NAME)
    .regex(/^[^+#\0]+$/)
    .nullable(),
  qos: z.union([z.literal(0), z.literal(1)])
})

/** What connections say. */
export const protocolSchema = z.discriminatedUnion('protocol', [
  z.object({ protocol: z.literal('tcp') }),
  http,
  webSocket,
  mqtt
])

/** TLS. No message carries a certificate or a key: agents trust what Node trusts on their machines. */
export const tlsSchema = z.object({
  /** Name for SNI and for the check of the certificate. Empty: the host of the server. */
  servername: z.string().max(253),
  insecure: z.boolean(),
  resume: z.boolean()
})
