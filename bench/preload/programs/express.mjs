/** A program on Express that does not know of ebb. */
import express from 'express'
import { tell } from '../tell.mjs'

const app = express()
app.get('/', (_request, response) => void response.send('hello'))
const server = app.listen(0, '127.0.0.1', () => tell(server))
